// SPDX-License-Identifier: Apache-2.0
#include "core/host/default_route.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/host/proc_words.h"

void default_route_interface(char interface[IF_NAMESIZE])
{
	interface[0] = '\0';
	FILE *file = fopen("/proc/net/route", "re");
	if (file == NULL)
		return;
	enum { INTERFACE = 0, DESTINATION = 1, METRIC = 6, MASK = 7 };
	char line[PROC_LINE], *words[PROC_WORDS];
	unsigned long best = ULONG_MAX;
	while (fgets(line, sizeof line, file) != NULL) {
		/* The first line, the titles, has no numbers. */
		if (proc_words(line, words) <= MASK || strcmp(words[DESTINATION], "00000000") != 0 ||
		    strcmp(words[MASK], "00000000") != 0 || strtoul(words[METRIC], NULL, 10) >= best)
			continue;
		best = strtoul(words[METRIC], NULL, 10);
		(void)snprintf(interface, IF_NAMESIZE, "%s", words[INTERFACE]);
	}
	fclose(file);
}
