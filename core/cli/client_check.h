// SPDX-License-Identifier: Apache-2.0
/* shardtun check: checks a client's file. */
#pragma once

#include "core/cli/cli.h"

/* argv[0] is the command, argv[1] the file. Reads it and the keys that it names, and prints the result, an error on
 * standard error. Changes nothing. Needs keys_init(). */
enum cli_status client_check_file(const struct cli_program *program, int argc, char *const *argv);
