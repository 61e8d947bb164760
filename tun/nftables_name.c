// SPDX-License-Identifier: Apache-2.0
#include "tun/nftables_name.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>

static void write_name(const char *prefix, const char *interface, char name[NFTABLES_NAME_MAX])
{
	size_t used = (size_t)sprintf(name, "%s", prefix);
	for (const char *c = interface; *c != '\0'; c++) {
		bool plain = isalnum((unsigned char)*c) || *c == '-' || *c == '.';
		used += (size_t)sprintf(name + used, plain ? "%c" : "_%02x", (unsigned char)*c);
	}
}

void nftables_table_name(const char *interface, char name[NFTABLES_NAME_MAX])
{
	write_name("shardtun-", interface, name);
}

void nftables_second_name(const char *interface, char name[NFTABLES_NAME_MAX])
{
	write_name("shardtun2-", interface, name);
}
