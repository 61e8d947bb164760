// SPDX-License-Identifier: Apache-2.0
/* The agent's configuration file: [Agent] and [Etcd], in the format of config/ini.h. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "config/config.h"
#include "core/agent/etcd.h"
#include "core/agent/ownership.h"
#include "core/base/log.h"

#define AGENT_SETTINGS_PATH "/etc/shardtun/agent.conf"
enum { SETTINGS_AGREEMENT_PORT = 5557, SETTINGS_TEXT = 256, SETTINGS_SOCKET = 108, SETTINGS_ENDPOINTS_TEXT = 1024 };

struct agent_settings {
	char node[OWNERSHIP_NAME];		      /* Node */
	char inside[OWNERSHIP_ADDRESS];		      /* Inside: "A:P", or one of each family with a comma */
	char agreement[OWNERSHIP_ADDRESS];	      /* Agreement, "A:P", UDP between agents */
	char control[SETTINGS_SOCKET];		      /* Control, the gateway's control socket */
	char socket[SETTINGS_SOCKET];		      /* Socket, the agent's own */
	struct config_listener metrics;		      /* MetricsListen */
	char state[SETTINGS_TEXT];		      /* State, a directory that does not outlive a boot */
	uint32_t blocks;			      /* Blocks */
	enum log_level log_level;		      /* LogLevel */
	char endpoints_text[SETTINGS_ENDPOINTS_TEXT]; /* Endpoints, cut up */
	const char *endpoints[ETCD_ENDPOINTS_MAX];
	size_t endpoint_count;
	char ca[SETTINGS_TEXT], cert[SETTINGS_TEXT], key[SETTINGS_TEXT];
	char user[SETTINGS_TEXT], password[SETTINGS_TEXT]; /* PasswordFile's first line */
	char prefix[SETTINGS_TEXT];
};

/* Reads and checks the file, and the file of the password. 0, or a negative errno with "file:line: what is wrong; what
 * is right" and nothing to free. */
int agent_settings_read(struct agent_settings *settings, const char *path, struct error *error);

/* Frees what was read, and wipes it. */
void agent_settings_free(struct agent_settings *settings);

/* Those of the client, which point into the settings. */
struct etcd_params agent_settings_etcd(const struct agent_settings *settings, const struct clock *clock);
