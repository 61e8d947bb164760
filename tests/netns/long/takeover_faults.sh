#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tests/netns/cases/takeover_faults.sh at every place: either process killed and stalled at each step and message of a take-over. Ten
# minutes, so "make test" leaves it out: tests/netns/run build/gcc $PWD/tests/netns/long/takeover_faults.sh
exec env TAKEOVER_FAULTS_ALL=yes "$(dirname "$(realpath "$0")")/../cases/takeover_faults.sh"
