// SPDX-License-Identifier: Apache-2.0
/* The part of a gateway that hands other gateways' datagrams on to them (core/gateway/cluster_network.h), alone.
 *
 * Usage: cluster_node FIFO INTERFACE OUTSIDE INSIDE PORT [LISTEN...]
 *
 * Reads commands from the FIFO, a line each, and prints "NUMBER ok", or "NUMBER ERROR", where the number is the
 * command's:
 *
 *   map TEXT        as cluster_map_parse() has it; what it leaves out is an error, and the rest in force
 *   check           whether the rules are as they were laid; puts them back
 *   close           removes all, and ends */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/gateway/cluster_network.h"

enum { LISTEN_MAX = 4, LINE_SIZE = 16384 };

static int run_map(struct cluster_network *network, const char *text, struct error *error)
{
	struct reconcile_found found = {0};
	int result = cluster_network_map(network, text, error);
	if (result == 0)
		cluster_network_run(network, true, &found);
	if (found.left != 0)
		return error_set(error, -EIO, "%s", found.error.text);
	return result != 0 || network->left_out == 0
		       ? result
		       : error_set(error, -EINVAL, "left out: %s", network->left_out_first);
}

static int run_check(struct cluster_network *network, struct error *error)
{
	struct reconcile_found found = {0};
	cluster_network_run(network, true, &found);
	if (found.left != 0)
		return error_set(error, -EIO, "%s", found.error.text);
	return found.missing == 0 ? 0 : error_set(error, -EAGAIN, "put back");
}

static int run(struct cluster_network *network, char *line, struct error *error)
{
	if (strncmp(line, "map ", 4) == 0)
		return run_map(network, line + 4, error);
	if (strcmp(line, "check") == 0)
		return run_check(network, error);
	return error_set(error, -EINVAL, "no command: %s", line);
}

static void serve(struct cluster_network *network, FILE *commands)
{
	static char line[LINE_SIZE];
	struct error error;
	for (unsigned number = 1; fgets(line, sizeof line, commands) != NULL; number++) {
		line[strcspn(line, "\n")] = '\0';
		bool last = strcmp(line, "close") == 0;
		if (last)
			cluster_network_close(network);
		int result = last ? 0 : run(network, line, &error);
		printf("%u %s\n", number, result == 0 ? "ok" : error.text);
		if (last)
			return;
	}
}

static int fail(const char *text)
{
	fprintf(stderr, "cluster_node: %s\n", text);
	return 1;
}

int main(int argc, char **argv)
{
	static struct cluster_network network;
	struct ip_address listen[LISTEN_MAX];
	struct error error;
	if (argc < 6 || argc > 6 + LISTEN_MAX)
		return fail("FIFO INTERFACE OUTSIDE INSIDE PORT [LISTEN...]");
	for (int i = 6; i < argc; i++) {
		if (!ip_address_parse(argv[i], &listen[i - 6]))
			return fail(argv[i]);
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	struct cluster_network_params params = {
		.nftables = nftables_open(NULL, -1, &error),
		.interface = argv[2],
		.outside = argv[3],
		.inside = argv[4],
		.listen = listen,
		.listen_count = (size_t)argc - 6,
		.port = (uint16_t)strtoul(argv[5], NULL, 10),
		.wireguard = true,
	};
	if (params.nftables == NULL || cluster_network_open(&network, &params, &error) != 0)
		return fail(error.text);
	/* Open for writing too: it has no end when one writer is gone. */
	int fd = open(argv[1], O_RDWR | O_CLOEXEC);
	FILE *commands = fd >= 0 ? fdopen(fd, "r") : NULL;
	if (commands == NULL)
		return fail(argv[1]);
	printf("0 ok\n");
	serve(&network, commands);
	(void)fclose(commands);
	nftables_close(params.nftables);
	return 0;
}
