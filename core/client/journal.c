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

#include "core/client/firewall.h"
#include "core/client/kill_switch.h"
#include "core/client/network.h"
#include "core/host/command.h"
#include "core/control/control.h"
#include "core/host/ownership.h"
#include "core/base/log.h"

enum {
	FILE_MODE = 0600,
	DIRECTORY_MODE = 0700,
	REST_MS = 10000, /* for the nftables process of a client that was killed to end */
	REST_STEP_MS = 10,
};

static bool is_in_control_directory(const char *socket)
{
	size_t length = sizeof CONTROL_DIRECTORY - 1;
	return strncmp(socket, CONTROL_DIRECTORY "/", length + 1) == 0 && strchr(socket + length + 1, '/') == NULL;
}

/* "X.sock" becomes "X.state". */
static char *record_path(const struct client_config *config)
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

/* Where nobody but us makes names, `path` is whose we think it is. */
static int check_directory(const char *path, struct error *error)
{
	const char *slash = strrchr(path, '/');
	char *directory = slash != NULL ? strndup(path, slash > path ? (size_t)(slash - path) : 1) : strdup(".");
	int result = directory != NULL ? ownership_check(directory, error)
				       : error_set(error, -ENOMEM, "%s: out of memory", path);
	free(directory);
	return result == -EPERM ? error_prefix(error, result, "the note beside ControlSocket, %s: ", path) : result;
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
	for (int way = 0; way < CLIENT_DNS_WAYS; way++) {
		if ((ways & CLIENT_DNS_BIT(way)) != 0)
			json_array_append_new(list, json_string(client_dns_way_text((enum client_dns_way)way)));
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
		for (int way = 0; text != NULL && way < CLIENT_DNS_WAYS; way++) {
			if (strcmp(text, client_dns_way_text((enum client_dns_way)way)) == 0)
				ways |= CLIENT_DNS_BIT(way);
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

/* The kernel's own tables are never ours, whatever a damaged file says. */
static uint32_t read_table(const json_t *json)
{
	json_int_t table = json_integer_value(json_object_get(json, "route_table"));
	bool ours = table > 0 && table <= UINT32_MAX && (table < RT_TABLE_DEFAULT || table > RT_TABLE_LOCAL);
	return ours ? (uint32_t)table : 0;
}

void client_deeds_read(int fd, uint16_t port, struct client_deeds *deeds)
{
	json_t *json = read_json(fd);
	*deeds = (struct client_deeds){
		.route_table = read_table(json),
		.route_rank = (unsigned)json_integer_value(json_object_get(json, "route_rank")),
		.kill_switch = json_is_true(json_object_get(json, "kill_switch")),
		.firewall = json_is_true(json_object_get(json, "firewall")),
		.post_up = json_is_true(json_object_get(json, "post_up")),
	};
	deeds->dns = read_ways(json_object_get(json, "dns"));
	read_endpoints(json_object_get(json, "endpoints"), port, &deeds->endpoints);
	json_decref(json);
}

int client_record_write(struct client_record *record, struct error *error)
{
	const struct client_deeds *deeds = &record->deeds;
	json_t *json = json_pack("{s:i, s:s, s:I, s:i, s:b, s:b, s:b, s:o, s:o}", "pid", (int)getpid(), "interface",
				 record->config->common.interface, "route_table", (json_int_t)deeds->route_table,
				 "route_rank", (int)deeds->route_rank, "kill_switch", (int)deeds->kill_switch,
				 "firewall", (int)deeds->firewall, "post_up", (int)deeds->post_up, "dns",
				 ways_json(deeds->dns), "endpoints", endpoints_json(&deeds->endpoints));
	char *text = json_dumps(json, JSON_COMPACT);
	json_decref(json);
	if (text == NULL)
		return error_set(error, -ENOMEM, "%s: out of memory", record->path);
	/* In one write to the same place: less than a page, so that whoever kills us gets all of it or none. What was
	 * longer before is no matter to who reads one JSON document. */
	size_t length = strlen(text);
	ssize_t written = pwrite(record->fd, text, length, 0);
	int failure = written < 0 ? errno : ENOSPC;
	free(text);
	if (written != (ssize_t)length)
		return error_set(error, -failure, "%s: cannot be written (%s)", record->path, strerror(failure));
	return 0;
}

/* --- the lock ----------------------------------------------------------------------------------------------------- */

/* Whether the path still leads to the file that is open: its last owner may have removed it while we waited. */
static bool is_current(int fd, const char *path)
{
	struct stat open_file, at_path;
	return fstat(fd, &open_file) == 0 && lstat(path, &at_path) == 0 && open_file.st_dev == at_path.st_dev &&
	       open_file.st_ino == at_path.st_ino;
}

static int check_is_ours(int fd, const char *path, struct error *error)
{
	struct stat status;
	if (fstat(fd, &status) != 0)
		return error_set(error, -errno, "%s: %s", path, strerror(errno));
	if (!S_ISREG(status.st_mode) || !ownership_trusted(status.st_uid))
		return error_set(error, -EPERM, "%s: no file of ours, but user ID %u's; remove it", path,
				 (unsigned)status.st_uid);
	return 0;
}

/* A lock of the process (POSIX): the kernel says whose it is, it does not pass to a child, and closing any descriptor
 * of the file gives it up, so this is opened once. -EBUSY: somebody has it. */
static int take_lock(int fd)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	if (fcntl(fd, F_SETLK, &lock) == 0)
		return 0;
	return errno == EAGAIN || errno == EACCES ? -EBUSY : -errno;
}

/* Who keeps us from the lock; 0: nobody. */
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
		int foreign = check_is_ours(fd, path, error);
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

/* The nftables process of a client that was killed may live a moment longer than that lock: it owns tables, or is about
 * to lay one. This lock is of the open file, which a client shares with it, so it is free when both are gone. */
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

int client_record_open(struct client_record *record, const struct client_config *config, struct error *error)
{
	*record = (struct client_record){.config = config, .fd = -1, .path = record_path(config)};
	if (record->path == NULL)
		return error_set(error, -ENOMEM, "%s: out of memory", config->file);
	int result = make_directory(config, error);
	if (result == 0)
		result = check_directory(record->path, error);
	if (result == 0) {
		record->fd = open_locked(record->path, O_CREAT, error);
		result = record->fd < 0 ? record->fd : 0;
	}
	if (result == 0) {
		client_deeds_read(record->fd, config->gateway.endpoint.port, &record->deeds);
		result = wait_for_rest(record->fd, record->path, error);
	}
	if (result == 0) {
		record->nftables = nftables_open(NULL, record->fd, error);
		result = record->nftables != NULL ? 0 : -ENOMEM;
	}
	if (result == 0)
		result = client_record_write(record, error); /* who holds the lock */
	if (result != 0)
		client_record_close(record);
	return result;
}

bool client_record_is_clean(const struct client_record *record)
{
	const struct client_deeds *deeds = &record->deeds;
	return deeds->route_table == 0 && !deeds->kill_switch && !deeds->firewall && !deeds->post_up && deeds->dns == 0;
}

void client_record_close(struct client_record *record)
{
	nftables_close(record->nftables);
	if (record->fd >= 0) {
		if (client_record_is_clean(record))
			(void)unlink(record->path);
		close(record->fd);
	}
	free(record->path);
	*record = (struct client_record){.fd = -1};
}

pid_t client_record_holder(const struct client_config *config, struct error *error)
{
	char *path = record_path(config);
	if (path == NULL)
		return (pid_t)error_set(error, -ENOMEM, "%s: out of memory", config->file);
	int result = check_directory(path, error);
	int fd = result == 0 ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK) : -1;
	pid_t holder = (pid_t)(result == -ENOENT ? 0 : result);
	if (fd >= 0) {
		result = check_is_ours(fd, path, error);
		holder = result == 0 ? find_holder(fd, path, error) : (pid_t)result;
		close(fd);
	} else if (result == 0 && errno != ENOENT) {
		holder = (pid_t)error_set(error, -errno, "%s: %s%s", path, strerror(errno),
					  errno == EACCES ? "; run as root" : "");
	}
	free(path);
	return holder;
}

/* --- taking back -------------------------------------------------------------------------------------------------- */

static void undo_rules(struct client_record *record)
{
	struct error error = {0};
	/* Twice: a rule that stays outlives us, and the kernel may be short of memory for a moment only. */
	if (record->deeds.route_table == 0 ||
	    client_network_clean(record->deeds.route_table, record->deeds.route_rank, &error) == 0 ||
	    client_network_clean(record->deeds.route_table, record->deeds.route_rank, &error) == 0)
		record->deeds.route_table = 0;
	else
		log_warning("%s", error.text);
}

static void undo_dns(struct client_record *record)
{
	const char *interface = record->config->common.interface;
	for (int next = 0; next < CLIENT_DNS_WAYS; next++) {
		enum client_dns_way way = (enum client_dns_way)next;
		struct error error = {0};
		/* systemd-resolved forgets with the interface. */
		bool forgotten = way == CLIENT_DNS_RESOLVED && if_nametoindex(interface) == 0;
		if ((record->deeds.dns & CLIENT_DNS_BIT(way)) != 0 && !forgotten &&
		    client_dns_restore(way, interface, &error) != 0)
			log_warning("DNS: %s", error.text);
	}
	record->deeds.dns = 0;
}

static void post_down(struct client_record *record)
{
	const struct client_config *config = record->config;
	for (size_t i = 0; record->deeds.post_up && i < config->post_down.count; i++) {
		struct error error = {0};
		if (command_run_shell(config->post_down.items[i], config->common.interface, CLIENT_COMMAND_SECONDS,
				      &error) != 0)
			log_warning("PostDown = %s", error.text);
	}
	record->deeds.post_up = false;
}

static void undo_firewall(struct client_record *record)
{
	struct error error = {0};
	const char *interface = record->config->common.interface;
	if (!record->deeds.firewall || client_firewall_clear(record->nftables, interface, &error) == 0 ||
	    client_firewall_clear(record->nftables, interface, &error) == 0)
		record->deeds.firewall = false;
	else
		log_warning("%s", error.text);
}

static void undo_kill_switch(struct client_record *record)
{
	struct error error = {0};
	const char *interface = record->config->common.interface;
	if (!record->deeds.kill_switch || client_killswitch_clear(record->nftables, interface, &error) == 0 ||
	    client_killswitch_clear(record->nftables, interface, &error) == 0)
		record->deeds.kill_switch = false;
	else
		log_warning("%s", error.text);
}

void client_record_undo(struct client_record *record, bool keep_kill_switch)
{
	struct error error = {0};
	undo_dns(record);
	undo_rules(record);
	undo_firewall(record);
	if (!keep_kill_switch)
		undo_kill_switch(record);
	post_down(record);
	if (client_record_write(record, &error) != 0)
		log_warning("%s", error.text);
}
