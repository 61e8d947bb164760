// SPDX-License-Identifier: Apache-2.0
/* Configuration files: whatever is in them, reading ends with a configuration or with one line that says why not. The
 * first byte chooses whose it is, and whether it comes by a file or by a pipe. */
#include <sys/mman.h>
#include <unistd.h>

#include "config/config.h"
#include "tests/fuzz/input.h"

static void check_error(int result, const struct error *error)
{
	insist(result < 0, "failures are negative");
	insist(error->text[0] != '\0', "an error has a text");
	insist(strchr(error->text, '\n') == NULL, "of one line");
}

/* An end to read from. A pipe takes so much at once. */
static int open_input(const uint8_t *data, size_t size, bool by_pipe)
{
	enum { PIPE_MOST = 65536 };
	int ends[2];
	if (!by_pipe || size > PIPE_MOST) {
		int fd = memfd_create("configuration", MFD_CLOEXEC);
		insist(fd >= 0 && write(fd, data, size) == (ssize_t)size, "a file in memory");
		return fd;
	}
	insist(pipe(ends) == 0 && write(ends[1], data, size) == (ssize_t)size, "a pipe");
	close(ends[1]);
	return ends[0];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	char path[64];
	int fd = open_input(data + 1, size - 1, (data[0] & 2) != 0);
	(void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	struct error error = {0};
	if (data[0] & 1) {
		struct client_config *config;
		int result = config_load_client(path, &config, &error);
		if (result == 0)
			config_free_client(config);
		else
			check_error(result, &error);
	} else {
		struct gateway_config *config;
		int result = config_load_gateway(path, &config, &error);
		if (result == 0)
			config_free_gateway(config);
		else
			check_error(result, &error);
	}
	close(fd);
	return 0;
}
