// SPDX-License-Identifier: Apache-2.0
#include "core/client/journal.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <jansson.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/client/firewall.h"
#include "core/client/kill_switch.h"
#include "core/client/network.h"
#include "core/control/control.h"
#include "core/host/command.h"
#include "core/host/ownership.h"

enum {
	FILE_MODE = 0600,
	DIRECTORY_MODE = 0700,
	REST_MS = 10000, /* until the nftables process of a killed client must have ended */
	REST_STEP_MS = 10,
};

static bool is_in_control_directory(const char *socket)
{
	size_t length = sizeof CONTROL_DIRECTORY - 1;
	return strncmp(socket, CONTROL_DIRECTORY "/", length + 1) == 0 && strchr(socket + length + 1, '/') == NULL;
}

/* "X.sock" becomes "X.state". */
static char *journal_path(const struct client_config *config)
{
	const char *socket = config->common.control_socket, *directory = "";
	static const char suffix[] = ".sock";
	if (is_in_control_directory(socket)) {
		directory = CLIENT_STATE_DIRECTORY;
		socket += sizeof CONTROL_DIRECTORY - 1;
	}
	size_t length = strlen(socket);
	if (length > sizeof suffix - 1 && strcmp(socket + length - (sizeof suffix - 1), suffix) == 0)
		length -= sizeof suffix - 1;
	char *path;
	return asprintf(&path, "%s%.*s.state", directory, (int)length, socket) < 0 ? NULL : path;
}

/* In a directory that only we can write to, no other user can have put a file of theirs at `path`. */
static int check_directory(const char *path, struct error *error)
{
	const char *slash = strrchr(path, '/');
	char *directory = slash != NULL ? strndup(path, slash > path ? (size_t)(slash - path) : 1) : strdup(".");
	int result = directory != NULL ? ownership_check(directory, error)
				       : error_set(error, -ENOMEM, "%s: out of memory", path);
	free(directory);
	return result == -EPERM ? error_prefix(error, result, "the state file beside ControlSocket, %s: ", path)
				: result;
}

static int make_directory(const struct client_config *config, struct error *error)
{
	if (!is_in_control_directory(config->common.control_socket))
		return control_make_directory(config->common.control_socket, error);
	if (mkdir(CLIENT_STATE_DIRECTORY, DIRECTORY_MODE) == 0 || errno == EEXIST)
		return 0;
	return error_set(error, -errno, CLIENT_STATE_DIRECTORY ": cannot be made (%s)%s", strerror(errno),
			 errno == EACCES ? "; run as root" : "");
}

/* --- the file ----------------------------------------------------------------------------------------------------- */

static json_t *endpoints_json(const struct resolver_result *endpoints)
{
	char text[INET6_ADDRSTRLEN];
	json_t *list = json_array();
	for (size_t i = 0; i < endpoints->count; i++) {
		if (inet_ntop(AF_INET6, &endpoints->addresses[i].sin6_addr, text, sizeof text) != NULL)
			json_array_append_new(list, json_string(text));
	}
	return list;
}

static void read_endpoints(const json_t *list, uint16_t port, struct resolver_result *endpoints)
{
	size_t i;
	const json_t *item;
	json_array_foreach (list, i, item) {
		struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
		const char *text = json_string_value(item);
		if (text != NULL && endpoints->count < RESOLVER_ADDRESSES_MAX &&
		    inet_pton(AF_INET6, text, &address.sin6_addr) == 1)
			endpoints->addresses[endpoints->count++] = address;
	}
}

static json_t *ways_json(unsigned ways)
{
	json_t *list = json_array();
	for (int way = 0; way < DNS_WAYS; way++) {
		if ((ways & DNS_BIT(way)) != 0)
			json_array_append_new(list, json_string(dns_way_text((enum dns_way)way)));
	}
	return list;
}

static unsigned read_ways(const json_t *list)
{
	unsigned ways = 0;
	size_t i;
	const json_t *item;
	json_array_foreach (list, i, item) {
		const char *text = json_string_value(item);
		for (int way = 0; text != NULL && way < DNS_WAYS; way++) {
			if (strcmp(text, dns_way_text((enum dns_way)way)) == 0)
				ways |= DNS_BIT(way);
		}
	}
	return ways;
}

static json_t *read_json(int fd)
{
	json_t *json = lseek(fd, 0, SEEK_SET) == 0 ? json_loadfd(fd, JSON_DISABLE_EOF_CHECK, NULL) : NULL;
	if (json_is_object(json))
		return json;
	json_decref(json);
	return NULL;
}

/* A damaged file must not make us flush the kernel's own tables. */
static uint32_t read_table(const json_t *json)
{
	json_int_t table = json_integer_value(json_object_get(json, "route_table"));
	bool ours = table > 0 && table <= UINT32_MAX && (table < RT_TABLE_DEFAULT || table > RT_TABLE_LOCAL);
	return ours ? (uint32_t)table : 0;
}

void journal_parse(int fd, uint16_t port, struct applied *applied)
{
	json_t *json = read_json(fd);
	*applied = (struct applied){
		.route_table = read_table(json),
		.route_rank = (unsigned)json_integer_value(json_object_get(json, "route_rank")),
		.kill_switch = json_is_true(json_object_get(json, "kill_switch")),
		.firewall = json_is_true(json_object_get(json, "firewall")),
		.post_up = json_is_true(json_object_get(json, "post_up")),
	};
	applied->dns = read_ways(json_object_get(json, "dns"));
	read_endpoints(json_object_get(json, "endpoints"), port, &applied->endpoints);
	json_decref(json);
}

int journal_write(struct journal *journal, struct error *error)
{
	const struct applied *applied = &journal->applied;
	json_t *json = json_pack("{s:i, s:s, s:I, s:i, s:b, s:b, s:b, s:o, s:o}", "pid", (int)getpid(), "interface",
				 journal->config->common.interface, "route_table", (json_int_t)applied->route_table,
				 "route_rank", (int)applied->route_rank, "kill_switch", (int)applied->kill_switch,
				 "firewall", (int)applied->firewall, "post_up", (int)applied->post_up, "dns",
				 ways_json(applied->dns), "endpoints", endpoints_json(&applied->endpoints));
	char *text = json_dumps(json, JSON_COMPACT);
	json_decref(json);
	if (text == NULL)
		return error_set(error, -ENOMEM, "%s: out of memory", journal->path);
	/* One write of less than a page: a kill leaves either the old text or the new one. Bytes of a longer old text
	 * may follow it: the parser stops after one JSON document. */
	size_t length = strlen(text);
	ssize_t written = pwrite(journal->fd, text, length, 0);
	int failure = written < 0 ? errno : ENOSPC;
	free(text);
	if (written != (ssize_t)length)
		return error_set(error, -failure, "%s: cannot be written (%s)", journal->path, strerror(failure));
	return 0;
}

/* --- the lock ----------------------------------------------------------------------------------------------------- */

/* Whether the path still leads to the open file: the client before may have removed it between open and lock. */
static bool is_current(int fd, const char *path)
{
	struct stat open_file, at_path;
	return fstat(fd, &open_file) == 0 && lstat(path, &at_path) == 0 && open_file.st_dev == at_path.st_dev &&
	       open_file.st_ino == at_path.st_ino;
}

static int check_owner(int fd, const char *path, struct error *error)
{
	struct stat status;
	if (fstat(fd, &status) != 0)
		return error_set(error, -errno, "%s: %s", path, strerror(errno));
	if (!S_ISREG(status.st_mode) || !ownership_trusted(status.st_uid))
		return error_set(error, -EPERM, "%s: no file of ours, but user ID %u's; remove it", path,
				 (unsigned)status.st_uid);
	return 0;
}

/* A POSIX lock: it names its process, and children do not inherit it. Closing any descriptor of the file would drop it,
 * so the file is opened once. -EBUSY: another process has it. */
static int take_lock(int fd)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	if (fcntl(fd, F_SETLK, &lock) == 0)
		return 0;
	return errno == EAGAIN || errno == EACCES ? -EBUSY : -errno;
}

/* The process that has the lock; 0: none has. */
static pid_t find_holder(int fd, const char *path, struct error *error)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	if (fcntl(fd, F_GETLK, &lock) != 0)
		return (pid_t)error_set(error, -errno, "%s: %s", path, strerror(errno));
	if (lock.l_type == F_UNLCK)
		return 0;
	if (lock.l_pid > 0)
		return lock.l_pid;
	return (pid_t)error_set(error, -EBUSY,
				"%s: locked by a process that cannot be seen from here; is it in another "
				"container?",
				path);
}

static int open_locked(const char *path, int flags, struct error *error)
{
	for (;;) {
		int fd = open(path, flags | O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, FILE_MODE);
		if (fd < 0)
			return error_set(error, -errno, "%s: %s%s", path, strerror(errno),
					 errno == EACCES ? "; run as root" : "");
		int foreign = check_owner(fd, path, error);
		if (foreign != 0) {
			close(fd);
			return foreign;
		}
		int code = take_lock(fd);
		if (code == 0 && is_current(fd, path) && fchmod(fd, FILE_MODE) == 0)
			return fd;
		pid_t pid = code == -EBUSY ? find_holder(fd, path, NULL) : 0;
		close(fd);
		if (code == -EBUSY)
			return error_set(error, code, "%s: it is up already (process %d); 'shardtun down' ends it",
					 path, (int)pid);
		if (code != 0)
			return error_set(error, code, "%s: cannot be locked (%s)", path, strerror(-code));
	}
}

/* The nftables process of a killed client may outlive the POSIX lock: it owns tables, or is about to set one. A flock()
 * belongs to the open file, which the client shares with that process, so it is free when both have ended. */
static int wait_for_rest(int fd, const char *path, struct error *error)
{
	for (unsigned waited = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; waited += REST_STEP_MS) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return error_set(error, -errno, "%s: cannot be locked (%s)", path, strerror(errno));
		if (waited >= REST_MS)
			return error_set(error, -EBUSY,
					 "%s: a client was killed, and its process \"nftables\" does not end; end "
					 "that one and try again",
					 path);
		(void)usleep(REST_STEP_MS * 1000);
	}
	return 0;
}

int journal_open(struct journal *journal, const struct client_config *config, struct error *error)
{
	*journal = (struct journal){.config = config, .fd = -1, .path = journal_path(config)};
	if (journal->path == NULL)
		return error_set(error, -ENOMEM, "%s: out of memory", config->file);
	int result = make_directory(config, error);
	if (result == 0)
		result = check_directory(journal->path, error);
	if (result == 0) {
		journal->fd = open_locked(journal->path, O_CREAT, error);
		result = journal->fd < 0 ? journal->fd : 0;
	}
	if (result == 0) {
		journal_parse(journal->fd, config->gateway.endpoint.port, &journal->applied);
		result = wait_for_rest(journal->fd, journal->path, error);
	}
	if (result == 0) {
		journal->nftables = nftables_open(NULL, journal->fd, error);
		result = journal->nftables != NULL ? 0 : -ENOMEM;
	}
	if (result == 0)
		result = journal_write(journal, error); /* our process ID */
	if (result != 0)
		journal_close(journal);
	return result;
}

bool journal_is_clean(const struct journal *journal)
{
	const struct applied *applied = &journal->applied;
	return applied->route_table == 0 && !applied->kill_switch && !applied->firewall && !applied->post_up &&
	       applied->dns == 0;
}

void journal_close(struct journal *journal)
{
	nftables_close(journal->nftables);
	if (journal->fd >= 0) {
		if (journal_is_clean(journal))
			(void)unlink(journal->path);
		close(journal->fd);
	}
	free(journal->path);
	*journal = (struct journal){.fd = -1};
}

pid_t journal_holder(const struct client_config *config, struct error *error)
{
	char *path = journal_path(config);
	if (path == NULL)
		return (pid_t)error_set(error, -ENOMEM, "%s: out of memory", config->file);
	int result = check_directory(path, error);
	int fd = result == 0 ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK) : -1;
	pid_t holder = (pid_t)(result == -ENOENT ? 0 : result);
	if (fd >= 0) {
		result = check_owner(fd, path, error);
		holder = result == 0 ? find_holder(fd, path, error) : (pid_t)result;
		close(fd);
	} else if (result == 0 && errno != ENOENT) {
		holder = (pid_t)error_set(error, -errno, "%s: %s%s", path, strerror(errno),
					  errno == EACCES ? "; run as root" : "");
	}
	free(path);
	return holder;
}

/* --- undoing ------------------------------------------------------------------------------------------------------ */

typedef int undo_fn(struct journal *journal, struct error *error);

/* Tries twice: what stays outlives us, and the kernel may be short of memory for a moment only. Returns whether
 * `applied` still holds. */
static bool undo_twice(struct journal *journal, bool applied, undo_fn *undo)
{
	struct error error = {0};
	if (!applied || undo(journal, &error) == 0 || undo(journal, &error) == 0)
		return false;
	log_warning("%s", error.text);
	return true;
}

static int undo_rules(struct journal *journal, struct error *error)
{
	return client_network_clean(journal->applied.route_table, journal->applied.route_rank, error);
}

static int undo_firewall(struct journal *journal, struct error *error)
{
	return client_firewall_clear(journal->nftables, journal->config->common.interface, error);
}

static int undo_kill_switch(struct journal *journal, struct error *error)
{
	return kill_switch_clear(journal->nftables, journal->config->common.interface, error);
}

static void undo_dns(struct journal *journal)
{
	const char *interface = journal->config->common.interface;
	for (int next = 0; next < DNS_WAYS; next++) {
		enum dns_way way = (enum dns_way)next;
		struct error error = {0};
		/* systemd-resolved drops a link's servers when the link goes. */
		bool dropped = way == DNS_RESOLVED && if_nametoindex(interface) == 0;
		if ((journal->applied.dns & DNS_BIT(way)) != 0 && !dropped && dns_restore(way, interface, &error) != 0)
			log_warning("DNS: %s", error.text);
	}
	journal->applied.dns = 0;
}

static void post_down(struct journal *journal)
{
	const struct client_config *config = journal->config;
	for (size_t i = 0; journal->applied.post_up && i < config->post_down.count; i++) {
		struct error error = {0};
		if (command_run_shell(config->post_down.items[i], config->common.interface, CLIENT_COMMAND_SECONDS,
				      &error) != 0)
			log_warning("PostDown = %s", error.text);
	}
	journal->applied.post_up = false;
}

void journal_undo(struct journal *journal, bool keep_kill_switch)
{
	struct applied *applied = &journal->applied;
	struct error error = {0};
	undo_dns(journal);
	if (!undo_twice(journal, applied->route_table != 0, undo_rules))
		applied->route_table = 0;
	applied->firewall = undo_twice(journal, applied->firewall, undo_firewall);
	if (!keep_kill_switch)
		applied->kill_switch = undo_twice(journal, applied->kill_switch, undo_kill_switch);
	post_down(journal);
	if (journal_write(journal, &error) != 0)
		log_warning("%s", error.text);
}
