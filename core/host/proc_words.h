// SPDX-License-Identifier: Apache-2.0
/* The kernel's tables in /proc/net, line by line. */
#pragma once

#include <stddef.h>
#include <string.h>

enum { PROC_LINE = 256, PROC_WORDS = 11 };

/* The words of a line, which is cut up. Returns how many there are, at most PROC_WORDS. */
static inline size_t proc_words(char *line, char *words[PROC_WORDS])
{
	size_t count = 0;
	char *rest = line;
	while (count < PROC_WORDS && (words[count] = strtok_r(count == 0 ? line : NULL, " \t\n", &rest)) != NULL)
		count++;
	return count;
}
