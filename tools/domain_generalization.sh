#!/usr/bin/env bash
# Domain generalization: train on all classes of SOURCE, test on them in each TARGET's other domain.
#
#   tools/domain_generalization.sh CONFIG SOURCE TARGET... [-- KEY VALUE ...]
#   ROOT=DATA tools/domain_generalization.sh configs/maple/vit_b16_cross_dataset.yaml \
#       imagenet imagenetv2 imagenet_sketch imagenet_a imagenet_r
#
# A target may have fewer classes than the source, or others: its prompts are made of its own class
# names. SHOTS is 16 unless set. tools/cross_dataset.sh shares the prompts trained on SOURCE.
source "$(dirname "${BASH_SOURCE[0]}")/_protocol.sh" domain_generalization "$@"
