#!/usr/bin/env bash
# Base-to-new generalization: train on the base half of the classes, test on base and on new ones.
#
#   tools/base2new.sh CONFIG DATASET... [-- KEY VALUE ...]
#   ROOT=DATA tools/base2new.sh configs/maple/vit_b16.yaml caltech101 dtd eurosat
#
# SHOTS is 16 unless set.
source "$(dirname "${BASH_SOURCE[0]}")/_protocol.sh" base2new "$@"
