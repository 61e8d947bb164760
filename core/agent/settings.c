// SPDX-License-Identifier: Apache-2.0
#include "core/agent/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "config/ini.h"
#include "core/control/listener.h"

struct reading {
	struct agent_settings *settings;
	const char *path;
	struct error *error;
	bool in_etcd, in_agent;
	char password_file[SETTINGS_TEXT];
};

/* A text option and where it goes. */
struct text_option {
	const char *name;
	size_t offset, size;
};
#define TEXT(name, member)                                                                                \
	{                                                                                                 \
		name, offsetof(struct agent_settings, member), sizeof((struct agent_settings *)0)->member \
	}

static const struct text_option agent_options[] = {
	TEXT("Node", node),   TEXT("Inside", inside),	TEXT("Control", control),
	TEXT("State", state), TEXT("Metrics", metrics),
};
static const struct text_option etcd_options[] = {
	TEXT("CA", ca), TEXT("Cert", cert), TEXT("Key", key), TEXT("User", user), TEXT("Prefix", prefix),
};

static int take_text(const struct reading *reading, const struct text_option *options, size_t count, const char *key,
		     const char *value, unsigned line)
{
	for (size_t i = 0; i < count; i++) {
		if (strcasecmp(options[i].name, key) != 0)
			continue;
		if (strlen(value) >= options[i].size)
			return error_set(reading->error, -EINVAL, "%s:%u: %s: longer than %zu characters",
					 reading->path, line, key, options[i].size - 1);
		memcpy((char *)reading->settings + options[i].offset, value, strlen(value) + 1);
		return 1;
	}
	return 0;
}

static int take_number(const struct reading *reading, const char *key, const char *value, unsigned line, unsigned least,
		       unsigned most, unsigned *number)
{
	char *end;
	unsigned long parsed = strtoul(value, &end, 10);
	if (value[0] < '0' || value[0] > '9' || *end != '\0' || parsed < least || parsed > most)
		return error_set(reading->error, -EINVAL, "%s:%u: %s = %.100s: not a number from %u to %u",
				 reading->path, line, key, value, least, most);
	*number = (unsigned)parsed;
	return 1;
}

static int take_endpoints(const struct reading *reading, char *value, unsigned line)
{
	struct agent_settings *settings = reading->settings;
	if (settings->endpoint_count != 0)
		return error_set(reading->error, -EINVAL, "%s:%u: Endpoints: a second time; write all on one line",
				 reading->path, line);
	if ((size_t)snprintf(settings->endpoints_text, sizeof settings->endpoints_text, "%s", value) >=
	    sizeof settings->endpoints_text)
		return error_set(reading->error, -EINVAL, "%s:%u: Endpoints: too long", reading->path, line);
	char *rest = NULL;
	for (char *text = strtok_r(settings->endpoints_text, ", \t", &rest); text != NULL;
	     text = strtok_r(NULL, ", \t", &rest)) {
		if (settings->endpoint_count == ETCD_ENDPOINTS_MAX)
			return error_set(reading->error, -EINVAL, "%s:%u: Endpoints: more than %d", reading->path, line,
					 ETCD_ENDPOINTS_MAX);
		if (strncmp(text, "https://", 8) != 0 && strncmp(text, "http://", 7) != 0)
			return error_set(reading->error, -EINVAL,
					 "%s:%u: Endpoints: %.100s: write https://HOST:PORT, separated by commas",
					 reading->path, line, text);
		settings->endpoints[settings->endpoint_count++] = text;
	}
	return 1;
}

static int agent_setting(const struct reading *reading, const char *key, const char *value, unsigned line)
{
	struct agent_settings *settings = reading->settings;
	if (strcasecmp(key, "Blocks") == 0)
		return take_number(reading, key, value, line, 1, OWNERSHIP_BLOCKS - 1, &settings->blocks);
	if (strcasecmp(key, "LogLevel") == 0)
		return log_level_parse(value, &settings->log_level)
			       ? 1
			       : error_set(reading->error, -EINVAL,
					   "%s:%u: LogLevel = %.100s: it is error, warning, info or debug",
					   reading->path, line, value);
	return take_text(reading, agent_options, ARRAY_SIZE(agent_options), key, value, line);
}

static int etcd_setting(struct reading *reading, const char *key, char *value, unsigned line)
{
	if (strcasecmp(key, "Endpoints") == 0)
		return take_endpoints(reading, value, line);
	if (strcasecmp(key, "PasswordFile") == 0) {
		if ((size_t)snprintf(reading->password_file, sizeof reading->password_file, "%s", value) >=
		    sizeof reading->password_file)
			return error_set(reading->error, -EINVAL, "%s:%u: PasswordFile: too long", reading->path, line);
		return 1;
	}
	return take_text(reading, etcd_options, ARRAY_SIZE(etcd_options), key, value, line);
}

static int setting(void *user, const char *key, char *value, unsigned line)
{
	struct reading *reading = user;
	int taken = 0;
	reader_cut_comment(value);
	if (value[0] == '\0')
		return error_set(reading->error, -EINVAL, "%s:%u: %.100s: no value", reading->path, line, key);
	if (reading->in_agent)
		taken = agent_setting(reading, key, value, line);
	else if (reading->in_etcd)
		taken = etcd_setting(reading, key, value, line);
	if (taken == 0)
		return error_set(reading->error, -EINVAL, "%s:%u: %.100s: no option of this section", reading->path,
				 line, key);
	return taken < 0 ? taken : 0;
}

static int section(void *user, const char *name, unsigned line)
{
	struct reading *reading = user;
	reading->in_agent = strcasecmp(name, "Agent") == 0;
	reading->in_etcd = strcasecmp(name, "Etcd") == 0;
	if (!reading->in_agent && !reading->in_etcd)
		return error_set(reading->error, -EINVAL, "%s:%u: [%.100s]: there are [Agent] and [Etcd]",
				 reading->path, line, name);
	return 0;
}

/* The first line. Other users must not be able to read it. */
static int read_password(struct reading *reading)
{
	struct agent_settings *settings = reading->settings;
	const char *path = reading->password_file;
	struct stat status;
	FILE *file = fopen(path, "re");
	if (file == NULL)
		return error_open(reading->error, path, "cannot be opened");
	setvbuf(file, NULL, _IONBF, 0);
	int result = 0;
	if (fstat(fileno(file), &status) != 0 || (status.st_mode & S_IRWXO) != 0)
		result = error_set(reading->error, -EPERM, "%s: other users may read it; chmod o= %s", path, path);
	else if (fgets(settings->password, sizeof settings->password, file) == NULL)
		result = error_set(reading->error, -EINVAL, "%s: no password in it", path);
	(void)fclose(file);
	settings->password[strcspn(settings->password, "\r\n")] = '\0';
	return result;
}

static bool is_name(const char *name)
{
	return name[0] != '\0' && name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-")] == '\0';
}

static int check(struct reading *reading)
{
	const struct agent_settings *settings = reading->settings;
	if (!is_name(settings->node))
		return error_set(reading->error, -EINVAL,
				 "%s: Node: missing, or not of a-z, 0-9 and -; it is the gateway's ClusterNode",
				 reading->path);
	if (settings->inside[0] == '\0')
		return error_set(reading->error, -EINVAL, "%s: Inside is missing; it is the gateway's ClusterLink",
				 reading->path);
	if (settings->endpoint_count == 0)
		return error_set(reading->error, -EINVAL, "%s: Endpoints is missing; write those of etcd in [Etcd]",
				 reading->path);
	if (settings->prefix[strlen(settings->prefix) - 1] != '/')
		return error_set(reading->error, -EINVAL, "%s: Prefix = %s: it has to end with /", reading->path,
				 settings->prefix);
	if ((settings->cert[0] != '\0') != (settings->key[0] != '\0'))
		return error_set(reading->error, -EINVAL, "%s: Cert and Key: one without the other", reading->path);
	if ((settings->user[0] != '\0') != (reading->password_file[0] != '\0'))
		return error_set(reading->error, -EINVAL, "%s: User and PasswordFile: one without the other",
				 reading->path);
	return settings->user[0] != '\0' ? read_password(reading) : 0;
}

int agent_settings_read(struct agent_settings *settings, const char *path, struct error *error)
{
	static const struct reader_handlers handlers = {.section = section, .setting = setting};
	struct reading reading = {.settings = settings, .path = path, .error = error};
	*settings = (struct agent_settings){.blocks = OWNERSHIP_BLOCKS - 1,
					    .log_level = LOG_LEVEL_INFO,
					    .control = CONTROL_DIRECTORY "/shardtund.sock",
					    .state = CONTROL_DIRECTORY "-agent",
					    .prefix = "/shardtun/"};
	int result = reader_run(path, false, &handlers, &reading, error);
	return result != 0 ? result : check(&reading);
}

static const char *or_none(const char *text)
{
	return text[0] != '\0' ? text : NULL;
}

struct etcd_params agent_settings_etcd(const struct agent_settings *settings, const struct clock *clock)
{
	struct etcd_params params = {.endpoint_count = settings->endpoint_count,
				     .ca = or_none(settings->ca),
				     .cert = or_none(settings->cert),
				     .key = or_none(settings->key),
				     .user = or_none(settings->user),
				     .password = or_none(settings->password),
				     .clock = clock};
	memcpy(params.endpoints, settings->endpoints, sizeof params.endpoints);
	return params;
}
