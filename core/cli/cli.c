// SPDX-License-Identifier: Apache-2.0
#include "core/cli/cli.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/base/printable.h"

static void print_help(const struct cli_program *program)
{
	printf("%s - %s\n", program->name, program->summary);
	for (size_t i = 0; program->synopses[i] != NULL; i++)
		printf("%s %s %s\n", i == 0 ? "\nUsage:" : "      ", program->name, program->synopses[i]);
	if (program->details != NULL)
		printf("\n%s", program->details);
	if (program->print_options != NULL)
		program->print_options(stdout);
	printf("\n  -h, --help      this text\n  -V, --version   name and version\n");
	printf("\nExit status: %d all well, %d failure while running, %d wrong command line, %d wrong configuration.\n",
	       CLI_OK, CLI_FAILED, CLI_USAGE, CLI_CONFIG);
	if (program->section_count > 0)
		printf("\nThe configuration file:\n");
	for (size_t i = 0; i < program->section_count; i++) {
		putchar('\n');
		config_print_options(stdout, program->sections[i]);
	}
}

bool cli_help_or_version(const struct cli_program *program, int argc, char *const *argv, enum cli_status *status)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		bool help = strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0;
		bool version = strcmp(argv[i], "-V") == 0 || strcmp(argv[i], "--version") == 0;
		if (!help && !version)
			continue;
		if (help)
			print_help(program);
		else
			printf("%s %s\n", program->name, SHARDTUN_VERSION);
		*status = cli_finish(program, CLI_OK);
		return true;
	}
	return false;
}

enum cli_status cli_usage_error(const struct cli_program *program, const char *format, ...)
{
	char text[256], shown[4 * sizeof text];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	printable_copy(shown, sizeof shown, text);
	fprintf(stderr, "%s: %s; try '%s --help'\n", program->name, shown, program->name);
	return CLI_USAGE;
}

enum cli_status cli_fail(const struct cli_program *program, enum cli_status status, const struct error *error)
{
	log_last_words(program->name, error->text);
	return status;
}

/* A closed pipe is no error: the reader, such as head(1), has what it needs. */
static bool reader_is_gone(void)
{
	struct pollfd polled = {.fd = STDOUT_FILENO};
	return poll(&polled, 1, 0) == 1 && (polled.revents & (POLLERR | POLLHUP)) != 0;
}

enum cli_status cli_finish(const struct cli_program *program, enum cli_status status)
{
	bool failed = ferror(stdout) != 0, gone = reader_is_gone();
	/* Some file systems (NFS, quotas) report a failed write only on close. */
	if ((fclose(stdout) != 0 || failed) && !gone) {
		fprintf(stderr, "%s: standard output cannot be written (%s)\n", program->name, strerror(errno));
		return CLI_FAILED;
	}
	return status;
}
