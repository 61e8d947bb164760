// SPDX-License-Identifier: Apache-2.0
/* WireGuard servers' files: whatever is in them, reading ends with one line that says why not, or with what is a
 * gateway's configuration, which has as many clients. */
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/wireguard_server.h"
#include "core/cli/import.h"
#include "tests/fuzz/input.h"

static int memory_file(const void *data, size_t size, char path[64])
{
	int fd = memfd_create("wg0.conf", MFD_CLOEXEC);
	insist(fd >= 0 && fchmod(fd, 0600) == 0 && write(fd, data, size) == (ssize_t)size, "a file in memory");
	(void)snprintf(path, 64, "/proc/self/fd/%d", fd);
	return fd;
}

static void count(void *context, const struct import_left *left)
{
	char text[IMPORT_TEXT_MAX];
	insist(strchr(import_left_text(left, text), '\n') == NULL, "one line each");
	++*(size_t *)context;
}

static void check_result(const struct wireguard_server *server)
{
	struct error error = {0};
	struct gateway_config *config;
	char path[64];
	size_t left = 0;
	import_each_left(server, count, &left);
	char *text = import_format(server, "gateway.key", "wireguard.key", true);
	insist(text != NULL, "a text");
	int fd = memory_file(text, strlen(text), path);
	insist(config_load_gateway(path, &config, &error) == 0, error.text);
	insist(config->peer_count == server->gateway.peer_count, "all clients");
	config_free_gateway(config);
	close(fd);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error error = {0};
	struct wireguard_server *server;
	char path[64];
	int fd = memory_file(data, size, path);
	int result = config_load_wireguard(path, &server, &error);
	if (result == 0)
		check_result(server);
	else
		insist(result < 0 && error.text[0] != '\0' && strchr(error.text, '\n') == NULL, "an error of one line");
	config_free_wireguard(server);
	close(fd);
	return 0;
}
