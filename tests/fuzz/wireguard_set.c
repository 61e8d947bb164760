// SPDX-License-Identifier: Apache-2.0
/* What programs say on WireGuard's control socket: any lines of "set=1" end with a code, and a request that is refused
 * changes nothing of what "get=1" says. */
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/daemon/identity.h"
#include "core/gateway/wireguard_get.h"
#include "core/gateway/wireguard_set.h"
#include "tests/fuzz/input.h"

static struct gateway_config *config;
static struct registry registry;
static struct gateway_running running;

/* What peers own is found from locked memory alone, where the detector of leaks does not look. The unit tests watch for
 * those. */
// NOLINTNEXTLINE(bugprone-reserved-identifier): the sanitizer's name
const char *__asan_default_options(void);
// NOLINTNEXTLINE(bugprone-reserved-identifier): the sanitizer's name
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}

static void note_limit(void *context, uint32_t session_id)
{
	(void)context, (void)session_id;
}

static void note_end(void *context, uint32_t session_id, enum wire_bye_reason reason)
{
	(void)context, (void)session_id, (void)reason;
}

static void open_gateway(void)
{
	static const char text[] = "[Gateway]\nPrivateKey = AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE=\n"
				   "Address = 10.8.0.1/24, fd00:8::1/64\nWireGuard = yes\n"
				   "[Peer]\nPublicKey = BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA=\n"
				   "Protocol = wireguard\nAddress = 10.8.0.7\nAllowedIPs = 192.168.7.0/24\n"
				   "[Peer]\nPublicKey = CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCA=\n";
	struct error error = {0};
	char path[64];
	struct noise_keypair *keys;
	insist(keys_init(&error) == 0, error.text);
	log_set_level(LOG_LEVEL_ERROR);
	rcu_join();
	int fd = memfd_create("gateway.conf", MFD_CLOEXEC);
	insist(fd >= 0 && fchmod(fd, 0600) == 0 && write(fd, text, sizeof text - 1) == (ssize_t)sizeof text - 1,
	       "a file");
	(void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	insist(config_load_gateway(path, &config, &error) == 0, error.text);
	close(fd);
	running = (struct gateway_running){.config = config,
					   .identity = identity_load(&config->common, &error),
					   .registry = &registry,
					   .ender = {.end = note_end, .limit = note_limit}};
	insist(identity_load_wireguard(config, running.identity, &keys, &error) == 0, error.text);
	running.wireguard_keys = keys;
}

static void fill_registry(void)
{
	struct error error = {0};
	const struct registry_params params = {.addresses = config->addresses.items,
					       .address_count = config->addresses.count,
					       .max_sessions = 64,
					       .workers = 1};
	insist(registry_init(&registry, &params, &error) == 0, error.text);
	insist(gateway_peers_load(&registry, config, &error) == 0, error.text);
}

/* All that "get=1" says; the caller frees. */
static char *shown(void)
{
	struct wireguard_get *get = wireguard_get_new(&running, &clock_system);
	char *text;
	size_t size, length;
	FILE *out = open_memstream(&text, &size);
	for (char *piece; (piece = wireguard_get_next(get, &length)) != NULL; free(piece))
		fwrite(piece, 1, length, out);
	fclose(out);
	wireguard_get_free(get);
	return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (config == NULL)
		open_gateway();
	fill_registry();
	char *before = shown(), *lines = strndup((const char *)data, size), *rest = lines;
	struct wireguard_set set;
	wireguard_set_init(&set, &running);
	for (char *line; (line = strsep(&rest, "\n")) != NULL && *line != '\0';)
		wireguard_set_line(&set, line);
	int code = wireguard_set_apply(&set);
	wireguard_set_deinit(&set);
	char *after = shown();
	insist(code <= 0 && (code == 0 || strcmp(before, after) == 0), "a request that is refused changes nothing");
	insist(strstr(after, "\nerrno=0\n\n") != NULL, "an answer has an end");
	free(before);
	free(after);
	free(lines);
	registry_deinit(&registry);
	return 0;
}
