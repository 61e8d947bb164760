// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/check.h"
#include "config/files.h"
#include "config/ini.h"
#include "config/parser.h"

/* How the structs of all kinds of files begin. */
struct any_config {
	char *file;
	struct config_common common;
};

#define BEGINS_LIKE_ANY(structure)                                                                 \
	_Static_assert(offsetof(structure, file) == offsetof(struct any_config, file) &&           \
			       offsetof(structure, common) == offsetof(struct any_config, common), \
		       "the beginning of " #structure)
BEGINS_LIKE_ANY(struct gateway_config);
BEGINS_LIKE_ANY(struct client_config);

struct file_kind {
	size_t size; /* of the struct */
	struct section_rule rules[SECTION_RULES_MAX];
	/* What is left to do once the file itself is read. */
	int (*finish)(void *config, const struct config_lines *lines, struct error *error);
	void (*free)(void *config);
};

static int no_memory(const char *path, struct error *error)
{
	return error_set(error, -ENOMEM, "%s: out of memory", path);
}

/* The begin of sections that stand once: their options are members of the whole. */
static void *config_begin(struct loader *loader)
{
	return loader->config;
}

/* The default depends on another option, so it is in no table. */
static int default_control_socket(struct any_config *config, struct error *error)
{
	struct config_common *common = &config->common;
	if (common->control_socket == NULL &&
	    asprintf(&common->control_socket, "/run/shardtun/%s.sock", common->interface) < 0) {
		common->control_socket = NULL;
		return no_memory(config->file, error);
	}
	return 0;
}

/* NULL on failure. */
static void *load(const struct file_kind *kind, const char *path, bool streams, int *result, struct error *error)
{
	struct any_config *config = calloc(1, kind->size);
	if (config == NULL || (config->file = strdup(path)) == NULL) {
		free(config);
		*result = no_memory(path, error);
		return NULL;
	}
	struct config_lines lines = {0};
	struct loader loader = {.path = config->file,
				.streams = streams,
				.config = config,
				.lines = &lines,
				.error = error,
				.rules = kind->rules,
				.rule_count = SECTION_RULES_MAX};
	*result = loader_run(&loader);
	if (*result == 0)
		*result = default_control_socket(config, error);
	if (*result == 0)
		*result = kind->finish(config, &lines, error);
	if (*result == 0)
		return config;
	kind->free(config);
	return NULL;
}

/* --- peers, in whichever file ------------------------------------------------------------------------------------- */

void *files_peer_begin(struct loader *loader)
{
	struct gateway_config *config = loader->config;
	size_t count = config->peer_count;
	if ((count & (count - 1)) == 0) {
		void *peers = reallocarray(config->peers, count == 0 ? 1 : 2 * count, sizeof *config->peers);
		if (peers == NULL)
			return NULL;
		config->peers = peers;
	}
	config->peers[count] = (struct config_peer){.file = loader->path};
	return &config->peers[config->peer_count++];
}

/* The own protocol has no use for these: its clients connect, and say how often they keep a mapping alive. */
static int check_protocol(const struct loader *loader, const struct config_peer *peer)
{
	static const char *const options[] = {"Endpoint", "PersistentKeepalive"};
	for (size_t i = 0; i < ARRAY_SIZE(options) && peer->protocol != CONFIG_PROTOCOL_WIREGUARD; i++) {
		unsigned line = loader_line(loader, options[i]);
		if (line != 0)
			return error_set(
				loader->error, -EINVAL,
				"%s:%u: %s: only for a peer with Protocol = wireguard; take it away, or add that",
				loader->path, line, options[i]);
	}
	return 0;
}

static int peer_end(struct loader *loader)
{
	struct config_peer *peer = loader->target;
	peer->line = loader_line(loader, "PublicKey");
	peer->protocol_line = loader_line(loader, "Protocol");
	int result = check_protocol(loader, peer);
	if (result != 0)
		return result;
	return loader_either(loader, "PresharedKeyFile", "PresharedKey", true);
}

/* Takes `path` over, also on failure. */
static int load_peers(struct gateway_config *config, char *path, struct error *error)
{
	static const struct section_rule rule = {CONFIG_SECTION_PEER, true, files_peer_begin, peer_end};
	char **files = path == NULL ? NULL
				    : reallocarray(config->peer_files, config->peer_file_count + 1,
						   sizeof *config->peer_files);
	if (files == NULL) {
		free(path);
		return no_memory(config->file, error);
	}
	config->peer_files = files;
	files[config->peer_file_count++] = path;
	struct loader loader = {.path = path, .config = config, .error = error, .rules = &rule, .rule_count = 1};
	return loader_run(&loader);
}

/* That reading the file can begin, and ends: a FIFO would keep a reload waiting for its writer. What cannot be read is
 * an error of the option that leads there. */
static int check_peers_file(const struct gateway_config *config, unsigned line, const char *key, const char *path,
			    struct error *error)
{
	struct stat status;
	int result = 0;
	if (stat(path, &status) != 0 || (S_ISREG(status.st_mode) && access(path, R_OK) != 0))
		result = errno == ENOENT && lstat(path, &status) == 0
				 ? error_set(error, -ENOENT, "%s: a symbolic link that leads nowhere", path)
				 : error_open(error, path, "cannot be opened");
	else if (!S_ISREG(status.st_mode))
		result = error_set(error, -EINVAL, "%s: %s; a regular file is right", path,
				   reader_kind(status.st_mode));
	return result == 0 ? 0 : error_prefix(error, result, "%s:%u: %s = ", config->file, line, key);
}

static int load_peers_file(struct gateway_config *config, unsigned line, struct error *error)
{
	if (config->peers_file == NULL)
		return 0;
	int result = check_peers_file(config, line, "PeersFile", config->peers_file, error);
	return result == 0 ? load_peers(config, strdup(config->peers_file), error) : result;
}

/* What editors and package managers leave beside a file has another ending, or a dot in front. */
static int is_peers_file(const struct dirent *entry)
{
	static const char ending[] = ".conf";
	size_t length = strlen(entry->d_name), ending_length = sizeof ending - 1;
	return entry->d_name[0] != '.' && length > ending_length &&
	       strcmp(entry->d_name + length - ending_length, ending) == 0;
}

/* By bytes, whatever the locale. */
static int compare_names(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

/* A file that went since the directory was read is no error: peers are removed while we read. */
static int load_entry(struct gateway_config *config, unsigned line, const char *name, struct error *error)
{
	char *path;
	struct stat status;
	if (asprintf(&path, "%s/%s", config->peers_directory, name) < 0)
		return no_memory(config->file, error);
	int result = check_peers_file(config, line, "PeersDirectory", path, error);
	if (result == 0)
		return load_peers(config, path, error);
	if (result == -ENOENT && lstat(path, &status) != 0 && errno == ENOENT)
		result = 0;
	free(path);
	return result;
}

static int load_peers_directory(struct gateway_config *config, unsigned line, struct error *error)
{
	if (config->peers_directory == NULL)
		return 0;
	struct dirent **entries;
	int count = scandir(config->peers_directory, &entries, is_peers_file, compare_names);
	if (count < 0)
		return error_prefix(error, error_open(error, config->peers_directory, "cannot be opened"),
				    "%s:%u: PeersDirectory = ", config->file, line);
	int result = 0;
	for (int i = 0; i < count; i++) {
		if (result == 0)
			result = load_entry(config, line, entries[i]->d_name, error);
		free(entries[i]);
	}
	free(entries);
	return result;
}

/* --- the gateway's file ------------------------------------------------------------------------------------------- */

static int gateway_end(struct loader *loader)
{
	struct config_lines *lines = loader->lines;
	lines->mtu = loader_line(loader, "MTU");
	lines->tun_readers = loader_line(loader, "TunReaders");
	lines->peers_file = loader_line(loader, "PeersFile");
	lines->peers_directory = loader_line(loader, "PeersDirectory");
	lines->max_sessions = loader_line(loader, "MaxSessions");
	lines->cluster_node = loader_line(loader, "ClusterNode");
	lines->cluster_block_size = loader_line(loader, "ClusterBlockSize");
	lines->cluster_link = loader_line(loader, "ClusterLink");
	lines->cluster_outside = loader_line(loader, "ClusterOutside");
	lines->cluster_interface = loader_line(loader, "ClusterInterface");
	return loader_either(loader, "PrivateKeyFile", "PrivateKey", false);
}

static int default_quota_file(struct gateway_config *config, struct error *error)
{
	if (config->quota_file == NULL &&
	    asprintf(&config->quota_file, "/var/lib/shardtun/quota-%s", config->common.interface) < 0) {
		config->quota_file = NULL;
		return no_memory(config->file, error);
	}
	return 0;
}

static int gateway_finish(void *config, const struct config_lines *lines, struct error *error)
{
	int result = default_quota_file(config, error);
	if (result == 0)
		result = load_peers_file(config, lines->peers_file, error);
	if (result == 0)
		result = load_peers_directory(config, lines->peers_directory, error);
	return result == 0 ? config_check_gateway(config, lines, error) : result;
}

static void gateway_free(void *config)
{
	config_free_gateway(config);
}

static int load_gateway(const char *path, bool streams, struct gateway_config **config, struct error *error)
{
	static const struct file_kind kind = {
		.size = sizeof **config,
		.rules = {{CONFIG_SECTION_GATEWAY, false, config_begin, gateway_end},
			  {CONFIG_SECTION_PEER, true, files_peer_begin, peer_end}},
		.finish = gateway_finish,
		.free = gateway_free,
	};
	int result;
	*config = load(&kind, path, streams, &result, error);
	return result;
}

int config_load_gateway(const char *path, struct gateway_config **config, struct error *error)
{
	return load_gateway(path, true, config, error);
}

int config_reload_gateway(const char *path, struct gateway_config **config, struct error *error)
{
	return load_gateway(path, false, config, error);
}

void config_forget_keys(struct gateway_config *config)
{
	value_secret_key.free(&config->common.private_key);
	for (size_t i = 0; i < config->peer_count; i++)
		loader_free(CONFIG_SECTION_PEER, &config->peers[i]);
	free(config->peers);
	config->peers = NULL;
	config->peer_count = 0;
	for (size_t i = 0; i < config->peer_file_count; i++)
		free(config->peer_files[i]);
	free(config->peer_files);
	config->peer_files = NULL;
	config->peer_file_count = 0;
}

void config_free_gateway(struct gateway_config *config)
{
	if (config == NULL)
		return;
	config_forget_keys(config);
	loader_free(CONFIG_SECTION_GATEWAY, config);
	free(config->file);
	free(config);
}

/* --- the client's file -------------------------------------------------------------------------------------------- */

static int client_end(struct loader *loader)
{
	struct config_lines *lines = loader->lines;
	lines->mtu = loader_line(loader, "MTU");
	lines->route_table = loader_line(loader, "RouteTable");
	return loader_either(loader, "PrivateKeyFile", "PrivateKey", false);
}

static int remote_end(struct loader *loader)
{
	return loader_either(loader, "PresharedKeyFile", "PresharedKey", true);
}

static int client_finish(void *config, const struct config_lines *lines, struct error *error)
{
	return config_check_client(config, lines, error);
}

static void client_free(void *config)
{
	config_free_client(config);
}

int config_load_client(const char *path, struct client_config **config, struct error *error)
{
	static const struct file_kind kind = {
		.size = sizeof **config,
		.rules = {{CONFIG_SECTION_CLIENT, false, config_begin, client_end},
			  {CONFIG_SECTION_REMOTE, false, config_begin, remote_end}},
		.finish = client_finish,
		.free = client_free,
	};
	int result;
	*config = load(&kind, path, true, &result, error);
	return result;
}

void config_free_client(struct client_config *config)
{
	if (config == NULL)
		return;
	loader_free(CONFIG_SECTION_CLIENT, config);
	loader_free(CONFIG_SECTION_REMOTE, config);
	free(config->file);
	free(config);
}
