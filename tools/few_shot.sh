#!/usr/bin/env bash
# Few-shot learning: train on a few images of every class, test on all classes.
#
#   tools/few_shot.sh CONFIG DATASET... [-- KEY VALUE ...]
#   ROOT=DATA tools/few_shot.sh configs/coop/vit_b16_few_shot.yaml caltech101 dtd eurosat
#
# SHOTS is "1 2 4 8 16" unless set.
source "$(dirname "${BASH_SOURCE[0]}")/_protocol.sh"

start 1 "$@"
classes=(DATASET.SUBSAMPLE_CLASSES all TEST.CLASSES '(all,)')
for dataset in "${datasets[@]}"; do
    for shots in ${SHOTS:-1 2 4 8 16}; do
        for seed in ${SEEDS:-1 2 3}; do
            train few_shot "$dataset" "$shots" "$seed" "${classes[@]}"
        done
    done
done
finish
