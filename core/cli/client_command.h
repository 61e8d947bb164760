// SPDX-License-Identifier: Apache-2.0
/* The commands of shardtun that are about a client: run, up, down, status. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "core/cli/cli.h"

#define CLIENT_CONFIG_DIRECTORY "/etc/shardtun"

/* For --help. */
#define CLIENT_COMMAND_DETAILS                                                              \
	"  run FILE           connect as the file says, until SIGTERM, SIGINT or SIGQUIT\n" \
	"  up NAME|FILE       the same in the background; returns once connected\n"         \
	"      -t, --timeout SECONDS   fail when not connected by then (default: 30)\n"     \
	"  down NAME|FILE     end it; also takes back what one left that was killed\n"      \
	"  status [NAME|FILE] what the clients here are connected to, and since when\n"     \
	"      -j, --json              for scripts\n"                                       \
	"                     NAME stands for " CLIENT_CONFIG_DIRECTORY "/NAME.conf\n"

bool client_command_knows(const char *word);

/* Whether the command is a daemon, which acts on signals by itself. */
bool client_command_stays(const char *word);

/* argv[0] is the command. Reports what is wrong on standard error. Before any thread exists. */
enum cli_status client_command_run(const struct cli_program *program, int argc, char **argv);

/* A client's answer to "client", for people. What is missing or not known does no harm. */
void client_print_status(FILE *out, const json_t *status);
