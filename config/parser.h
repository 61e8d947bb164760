// SPDX-License-Identifier: Apache-2.0
/* From the lines of a file to the members of structs, as the tables of config/options.h say. */
#pragma once

#include <stdbool.h>

#include "config/options.h"

struct loader;

/* A section that a kind of file may have. */
struct section_rule {
	enum config_section section;
	bool repeatable;
	/* Yields the struct that the options' offsets count from; NULL when memory is short. */
	void *(*begin)(struct loader *loader);
	/* Called when every option of the section is right: checks whether they go together: 0 or an error. May be
	 * NULL. */
	int (*end)(struct loader *loader);
};

enum { SECTION_RULES_MAX = 2 };

struct loader {
	const char *path;
	bool streams; /* as reader_run() takes it */
	/* Of a file that wg(8) reads: a '#' anywhere begins a comment, lists may be empty, and other keys are unknown
	 * to that, not to us. */
	bool of_wireguard;
	void *config; /* what begin() is for */
	void *lines;  /* what end() leaves there for the checks */
	struct error *error;
	const struct section_rule *rules;
	size_t rule_count;
	/* the rest is loader_run()'s */
	char *directory;			  /* of the path as it was given, with its slash, or "" */
	unsigned mode;				  /* of the file, as chmod(1) has it */
	unsigned header_lines[SECTION_RULES_MAX]; /* per rule: where it stood first; 0 when it did not */
	/* the section being read */
	const struct section_rule *rule; /* NULL before the first */
	void *target;
	unsigned header_line;
	unsigned set_on[OPTIONS_PER_SECTION]; /* per row; 0 when not set */
};

/* Reads the whole file. 0, or a negative errno with the message in loader->error; what was parsed until then is in the
 * structs that begin() yielded. */
int loader_run(struct loader *loader);

/* For end(): where the option stands in the section being read; 0 when it does not. */
unsigned loader_line(const struct loader *loader, const char *name);

/* For end(): that not both options are given; and, unless `optional`, one of them. */
int loader_either(const struct loader *loader, const char *one, const char *other, bool optional);

/* Frees what parsing allocated for the section's options. */
void loader_free(enum config_section section, void *target);
