// SPDX-License-Identifier: Apache-2.0
/* "shardtun check": whether a client's file is right. */
#pragma once

#include "core/cli/cli.h"

/* Runs argv[0], which is the command, with the file in argv[1]. Reads it and the keys that it names, and says on
 * standard output that all is right, or what is not on standard error; changes nothing. Needs keys_init(). */
enum cli_status client_check_file(const struct cli_program *program, int argc, char *const *argv);
