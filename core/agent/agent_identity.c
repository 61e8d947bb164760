// SPDX-License-Identifier: Apache-2.0
/* uuid and lease, in a file of a directory that does not outlive a boot: a restarted agent goes on with both, so that
 * its blocks stay. The directory must not be copied to another machine, which is why it is not on a disk. And which
 * machine this is. */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <systemd/sd-id128.h>
#include <unistd.h>

#include "core/agent/agent_state.h"

enum { TEXT_MAX = 128 };

/* The machine's ID itself is not to be shown to others (machine-id(5)). */
#define OUR_ID SD_ID128_MAKE(5c, 1e, 0b, 7d, 93, 4f, 4a, 26, 8d, 60, 2f, e7, 41, 9a, c8, 35)

static void make_uuid(char uuid[OWNERSHIP_UUID])
{
	uint8_t random[16];
	char hex[2 * sizeof random + 1];
	randombytes_buf(random, sizeof random);
	random[6] = (uint8_t)((random[6] & 0x0f) | 0x40);
	random[8] = (uint8_t)((random[8] & 0x3f) | 0x80);
	sodium_bin2hex(hex, sizeof hex, random, sizeof random);
	(void)snprintf(uuid, OWNERSHIP_UUID, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
}

/* "uuid lease" */
static void read_identity(struct agent *agent, int64_t *lease)
{
	char text[TEXT_MAX] = "";
	ssize_t got = pread(agent->state_fd, text, sizeof text - 1, 0);
	*lease = 0;
	if (got > OWNERSHIP_UUID && text[OWNERSHIP_UUID - 1] == ' ' &&
	    strspn(text, "0123456789abcdef-") == OWNERSHIP_UUID - 1)
		*lease = strtoll(text + OWNERSHIP_UUID, NULL, 10);
	if (*lease > 0) {
		memcpy(agent->uuid, text, OWNERSHIP_UUID - 1);
		agent->uuid[OWNERSHIP_UUID - 1] = '\0';
	} else {
		*lease = 0;
		make_uuid(agent->uuid);
	}
}

/* Files of peers that an agent left when it was killed: there are sealed keys in them. */
static void remove_peers(const char *directory)
{
	DIR *dir = opendir(directory);
	for (const struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
		if (strncmp(entry->d_name, "peers-", strlen("peers-")) == 0)
			(void)unlinkat(dirfd(dir), entry->d_name, 0);
	}
	if (dir != NULL)
		(void)closedir(dir);
}

static void read_machine(struct agent *agent)
{
	sd_id128_t id;
	_Static_assert(OWNERSHIP_MACHINE == SD_ID128_STRING_MAX, "32 digits");
	int result = sd_id128_get_machine_app_specific(OUR_ID, &id);
	if (result == 0) {
		(void)sd_id128_to_string(id, agent->machine);
		return;
	}
	size_t length = 0;
	for (const char *c = agent->uuid; *c != '\0'; c++) {
		if (*c != '-')
			agent->machine[length++] = *c;
	}
	log_warning("/etc/machine-id cannot be read (%s): after a boot, the agent of another member has to let this "
		    "node take blocks; systemd-machine-id-setup(1) writes it",
		    strerror(-result));
}

int agent_identity_open(struct agent *agent, int64_t *lease, struct error *error)
{
	const char *directory = agent->settings->state;
	char path[AGENT_PATH];
	if (mkdir(directory, 0750) != 0 && errno != EEXIST)
		return error_set(error, -errno, "%s: cannot be made (%s)", directory, strerror(errno));
	(void)snprintf(path, sizeof path, "%s/identity", directory);
	agent->state_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (agent->state_fd < 0)
		return error_open(error, path, "cannot be opened");
	if (flock(agent->state_fd, LOCK_EX | LOCK_NB) != 0)
		return error_set(error, -EADDRINUSE, "%s: another agent runs here; stop it first", path);
	remove_peers(directory);
	read_identity(agent, lease);
	read_machine(agent);
	agent->saved_lease = *lease;
	return 0;
}

void agent_identity_keep(struct agent *agent)
{
	char text[TEXT_MAX];
	if (agent->rule.lease == agent->saved_lease)
		return;
	agent->saved_lease = agent->rule.lease;
	int length = snprintf(text, sizeof text, "%s %" PRId64 "\n", agent->uuid, agent->rule.lease);
	if (ftruncate(agent->state_fd, 0) != 0 || pwrite(agent->state_fd, text, (size_t)length, 0) != length)
		log_warning("%s/identity: cannot be written (%s): a restart of the agent will cost its blocks",
			    agent->settings->state, strerror(errno));
}

void agent_identity_close(struct agent *agent)
{
	if (agent->state_fd >= 0)
		close(agent->state_fd);
	agent->state_fd = -1;
}

/* --- drain -------------------------------------------------------------------------------------------------------- */

static void drain_path(const struct agent *agent, char path[AGENT_PATH])
{
	(void)snprintf(path, AGENT_PATH, "%s/draining", agent->settings->state);
}

bool agent_identity_drains(const struct agent *agent)
{
	char path[AGENT_PATH];
	drain_path(agent, path);
	return access(path, F_OK) == 0;
}

int agent_identity_drain(const struct agent *agent, bool draining, struct error *error)
{
	char path[AGENT_PATH];
	drain_path(agent, path);
	if (!draining)
		return unlink(path) == 0 || errno == ENOENT
			       ? 0
			       : error_set(error, -errno, "%s: cannot be removed (%s)", path, strerror(errno));
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return error_set(error, -errno, "%s: cannot be written (%s)", path, strerror(errno));
	close(fd);
	return 0;
}
