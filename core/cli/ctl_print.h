// SPDX-License-Identifier: Apache-2.0
/* Prints the daemon's answers. Tool and daemon may be of different versions: a member that is missing or unknown is no
 * error. */
#pragma once

#include <jansson.h>
#include <stdio.h>

/* Any answer, for scripts. */
void ctl_print_json(FILE *out, const json_t *result);

/* Answers to the commands of these names, as text. */
void ctl_print_status(FILE *out, json_t *status);
void ctl_print_stages(FILE *out, json_t *report);
void ctl_print_cluster(FILE *out, json_t *cluster);
void ctl_print_identity(FILE *out, json_t *identity);
void ctl_print_kick(FILE *out, json_t *result);
void ctl_print_peer(FILE *out, json_t *result);
void ctl_print_quota(FILE *out, json_t *result);
void ctl_print_reload(FILE *out, json_t *result);
