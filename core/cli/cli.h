// SPDX-License-Identifier: Apache-2.0
/* What the command lines of all programs share: help, version, errors, exit statuses. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "config/config.h"
#include "core/base/error.h"

enum cli_status {
	CLI_OK = 0,
	CLI_FAILED = 1, /* something did not work while running */
	CLI_USAGE = 2,	/* the command line is wrong */
	CLI_CONFIG = 3, /* the configuration, or a file that it names, is wrong */
};

/* What --help says; constant data of each main. */
struct cli_program {
	const char *name;
	const char *summary;		  /* one line */
	const char *const *synopses;	  /* each without the program's name, NULL at the end */
	const char *details;		  /* lines of text with their line ends, or NULL */
	void (*print_options)(FILE *out); /* what follows the details, or NULL */
	/* Sections of the configuration file whose options follow. */
	const enum config_section *sections;
	size_t section_count;
};

/* Handles -h, --help, -V and --version before any "--". True when there was one: *status is then the exit status. Call
 * it first. */
bool cli_help_or_version(const struct cli_program *program, int argc, char *const *argv, enum cli_status *status);

/* Prints "NAME: message; try 'NAME --help'" on standard error; returns CLI_USAGE. */
enum cli_status cli_usage_error(const struct cli_program *program, const char *format, ...) PRINTF_LIKE(2, 3);

/* Prints "NAME: text" on standard error, escaped as core/base/printable.h says; returns `status`. */
enum cli_status cli_fail(const struct cli_program *program, enum cli_status status, const struct error *error);

/* Flushes and closes standard output; every program that wrote to it must end with this. Returns `status`, or
 * CLI_FAILED with a line on standard error when the output was not written completely (a full disk, for instance). */
enum cli_status cli_finish(const struct cli_program *program, enum cli_status status);
