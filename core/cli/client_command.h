// SPDX-License-Identifier: Apache-2.0
/* The commands of shardtun that start, end and query a client: run, up, down, status. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "core/cli/cli.h"

#define CLIENT_CONFIG_DIRECTORY "/etc/shardtun"

/* For --help. */
#define CLIENT_COMMAND_DETAILS                                                                      \
	"  run FILE           connect as the file says, until SIGTERM, SIGINT or SIGQUIT\n"         \
	"  up NAME|FILE       the same in the background; returns once connected\n"                 \
	"      -t, --timeout SECONDS   fail when not connected by then (default: 30)\n"             \
	"  down NAME|FILE     end it; also undo what a killed one left behind\n"                    \
	"  status [NAME|FILE] gateway, session and state of this client, or of all that run here\n" \
	"      -j, --json              for scripts\n"                                               \
	"                     NAME stands for " CLIENT_CONFIG_DIRECTORY "/NAME.conf\n"

bool client_command_knows(const char *word);

/* Whether the command becomes a daemon, which handles signals by itself. */
bool client_command_is_daemon(const char *word);

/* argv[0] is the command. Reports errors on standard error. Before any thread exists. */
enum cli_status client_command_run(const struct cli_program *program, int argc, char **argv);

/* Prints a client's answer to "client". A member that is missing or unknown is no error. */
void client_command_print_status(FILE *out, const json_t *status);
