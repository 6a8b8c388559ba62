#!/usr/bin/env bash
# Cross-dataset transfer: train on all classes of SOURCE, test on those of each TARGET.
#
#   tools/cross_dataset.sh CONFIG SOURCE TARGET... [-- KEY VALUE ...]
#   ROOT=DATA tools/cross_dataset.sh configs/maple/vit_b16_cross_dataset.yaml imagenet dtd eurosat
#
# SHOTS is 16 unless set. tools/domain_generalization.sh shares the prompts trained on SOURCE.
source "$(dirname "${BASH_SOURCE[0]}")/_protocol.sh" cross_dataset "$@"
