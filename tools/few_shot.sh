#!/usr/bin/env bash
# Few-shot learning: train on a few images of every class, test on all classes.
#
#   tools/few_shot.sh CONFIG DATASET... [-- KEY VALUE ...]
#   ROOT=DATA tools/few_shot.sh configs/coop/vit_b16_few_shot.yaml caltech101 dtd eurosat
#
# SHOTS is "1 2 4 8 16" unless set.
source "$(dirname "${BASH_SOURCE[0]}")/_protocol.sh" few_shot "$@"
