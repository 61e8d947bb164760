// SPDX-License-Identifier: Apache-2.0
#include "core/agent/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "config/check_cluster.h"
#include "config/ini.h"
#include "config/value.h"
#include "core/control/listener.h"

struct reading {
	struct agent_settings *settings;
	const char *path;
	struct error *error;
	const struct setting *section; /* NULL: before the first one */
	size_t count;		       /* of its settings */
	uint32_t given[2];	       /* bits: of [Agent], of [Etcd] */
	char password_file[SETTINGS_TEXT];
};

/* A key of a section, how its value is read, and where that goes. */
struct setting {
	const char *name;
	/* 0, or a negative errno with what is wrong in `error`. */
	int (*take)(struct reading *reading, const struct setting *setting, char *value, struct error *error);
	size_t offset, size;
	const struct value_type *type; /* of take_value() */
	uint64_t low, high;
};

/* --- values ------------------------------------------------------------------------------------------------------- */

static int copy_text(char *to, size_t size, const char *value, struct error *error)
{
	if (strlen(value) >= size)
		return error_set(error, -EINVAL, "longer than %zu characters", size - 1);
	memcpy(to, value, strlen(value) + 1);
	return 0;
}

static void *target(const struct reading *reading, const struct setting *setting)
{
	return (char *)reading->settings + setting->offset;
}

static int take_text(struct reading *reading, const struct setting *setting, char *value, struct error *error)
{
	return copy_text(target(reading, setting), setting->size, value, error);
}

static int take_path(struct reading *reading, const struct setting *setting, char *value, struct error *error)
{
	if (value[0] != '/')
		return error_set(error, -EINVAL, "no absolute path; begin with /");
	return take_text(reading, setting, value, error);
}

static int take_value(struct reading *reading, const struct setting *setting, char *value, struct error *error)
{
	const struct value_context context = {.low = setting->low, .high = setting->high, .directory = ""};
	return setting->type->parse(target(reading, setting), value, &context, error);
}

static int take_password_file(struct reading *reading, const struct setting *setting, char *value, struct error *error)
{
	(void)setting;
	return copy_text(reading->password_file, sizeof reading->password_file, value, error);
}

/* One address of each family at most: what nftables forwards does not change its family. */
static int take_inside(struct reading *reading, const struct setting *setting, char *value, struct error *error)
{
	char *rest = NULL, *inside = target(reading, setting);
	unsigned families = 0;
	size_t length = 0;
	for (char *text = strtok_r(value, ", \t", &rest); text != NULL; text = strtok_r(NULL, ", \t", &rest)) {
		struct config_listener listener = {0};
		const struct value_context context = {.high = SETTINGS_SOCKET - 1, .directory = ""};
		struct error why;
		bool right = value_listener.parse(&listener, text, &context, &why) == 0 && listener.port != 0;
		value_listener.free(&listener);
		if (!right || ip_address_unfit(&listener.address) != NULL)
			return error_set(error, -EINVAL,
					 "%.60s is no address of a host with its port; for example 10.9.0.1:5556 or "
					 "[fd00::1]:5556",
					 text);
		if ((families & 1u << listener.address.family) != 0)
			return error_set(error, -EINVAL, "two addresses of one family; one IPv4 and one IPv6 at most");
		families |= 1u << listener.address.family;
		if (length + strlen(text) + 2 > setting->size)
			return error_set(error, -EINVAL, "longer than %zu characters", setting->size - 1);
		length += (size_t)snprintf(inside + length, setting->size - length, "%s%s", length != 0 ? "," : "",
					   text);
	}
	return 0;
}

static int take_agreement(struct reading *reading, const struct setting *setting, char *value, struct error *error)
{
	if (strpbrk(value, ", \t") != NULL)
		return error_set(error, -EINVAL, "one address with its port, no list");
	return take_inside(reading, setting, value, error);
}

static int take_endpoints(struct reading *reading, const struct setting *setting, char *value, struct error *error)
{
	struct agent_settings *settings = reading->settings;
	int result = take_text(reading, setting, value, error);
	if (result != 0)
		return result;
	char *rest = NULL;
	for (char *text = strtok_r(settings->endpoints_text, ", \t", &rest); text != NULL;
	     text = strtok_r(NULL, ", \t", &rest)) {
		if (settings->endpoint_count == ETCD_ENDPOINTS_MAX)
			return error_set(error, -EINVAL, "more than %d", ETCD_ENDPOINTS_MAX);
		if (strncmp(text, "https://", 8) != 0 && strncmp(text, "http://", 7) != 0)
			return error_set(error, -EINVAL, "%.100s: write https://HOST:PORT, separated by commas", text);
		settings->endpoints[settings->endpoint_count++] = text;
	}
	return 0;
}

/* --- keys --------------------------------------------------------------------------------------------------------- */

#define MEMBER(member) \
	.offset = offsetof(struct agent_settings, member), .size = sizeof((struct agent_settings *)0)->member

static const struct setting agent_settings[] = {
	{"Node", take_text, MEMBER(node)},
	{"Inside", take_inside, MEMBER(inside)},
	{"Agreement", take_agreement, MEMBER(agreement)},
	{"Control", take_path, MEMBER(control)},
	{"Socket", take_path, MEMBER(socket)},
	{"MetricsListen", take_value, MEMBER(metrics), .type = &value_listener, .high = SETTINGS_SOCKET - 1},
	{"Blocks", take_value, MEMBER(blocks), .type = &value_number, .low = 1, .high = OWNERSHIP_BLOCKS - 1},
	{"State", take_path, MEMBER(state)},
	{"LogLevel", take_value, MEMBER(log_level), .type = &value_log_level},
};
static const struct setting etcd_settings[] = {
	{"Endpoints", take_endpoints, MEMBER(endpoints_text)},
	{"CA", take_path, MEMBER(ca)},
	{"Cert", take_path, MEMBER(cert)},
	{"Key", take_path, MEMBER(key)},
	{"User", take_text, MEMBER(user)},
	{.name = "PasswordFile", .take = take_password_file},
	{"Prefix", take_text, MEMBER(prefix)},
};

static int take(struct reading *reading, const struct setting *setting, char *value, struct error *error)
{
	uint32_t *given = &reading->given[reading->section == etcd_settings];
	uint32_t bit = 1u << (setting - reading->section);
	if (value[0] == '\0')
		return error_set(error, -EINVAL, "no value");
	if ((*given & bit) != 0)
		return error_set(error, -EINVAL, "a second time; write it once");
	*given |= bit;
	return setting->take(reading, setting, value, error);
}

static int read_setting(void *user, const char *key, char *value, unsigned line)
{
	struct reading *reading = user;
	struct error why = {0};
	char shown[128];
	reader_cut_comment(value);
	for (size_t i = 0; i < reading->count; i++) {
		const struct setting *setting = &reading->section[i];
		if (strcasecmp(setting->name, key) != 0)
			continue;
		(void)snprintf(shown, sizeof shown, "%s", value);
		int result = take(reading, setting, value, &why);
		return result == 0 ? 0
				   : error_set(reading->error, result, "%s:%u: %s = %s: %s", reading->path, line,
					       setting->name, shown, why.text);
	}
	return error_set(reading->error, -EINVAL, "%s:%u: %.100s: no option of this section", reading->path, line, key);
}

static int read_section(void *user, const char *name, unsigned line)
{
	struct reading *reading = user;
	bool agent = strcasecmp(name, "Agent") == 0;
	if (!agent && strcasecmp(name, "Etcd") != 0)
		return error_set(reading->error, -EINVAL, "%s:%u: [%.100s]: there are [Agent] and [Etcd]",
				 reading->path, line, name);
	reading->section = agent ? agent_settings : etcd_settings;
	reading->count = agent ? ARRAY_SIZE(agent_settings) : ARRAY_SIZE(etcd_settings);
	return 0;
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

/* The first line. Other users must not be able to read it. */
static int read_password(struct reading *reading)
{
	struct agent_settings *settings = reading->settings;
	const char *path = reading->password_file;
	char *password = settings->password;
	struct stat status;
	FILE *file = fopen(path, "re");
	if (file == NULL)
		return error_open(reading->error, path, "cannot be opened");
	setvbuf(file, NULL, _IONBF, 0);
	int result = 0;
	if (fstat(fileno(file), &status) != 0 || (status.st_mode & S_IRWXO) != 0)
		result = error_set(reading->error, -EPERM, "%s: other users may read it; chmod o= %s", path, path);
	else if (fgets(password, sizeof settings->password, file) == NULL)
		result = error_set(reading->error, -EINVAL, "%s: no password in it", path);
	else if (strchr(password, '\n') == NULL && fgetc(file) != EOF)
		result = error_set(reading->error, -EINVAL, "%s: a password has at most %zu bytes", path,
				   sizeof settings->password - 1);
	(void)fclose(file);
	password[strcspn(password, "\r\n")] = '\0';
	if (result == 0 && password[0] == '\0')
		result = error_set(reading->error, -EINVAL, "%s: no password in its first line", path);
	return result;
}

/* Of what is missing, or does not go with another option. */
static int check(struct reading *reading)
{
	const struct agent_settings *settings = reading->settings;
	const char *wrong = NULL;
	if (!check_cluster_node(settings->node))
		wrong = "Node: missing, or not of a-z, 0-9 and -; it is the gateway's ClusterNode";
	else if (settings->inside[0] == '\0')
		wrong = "Inside is missing; it is the gateway's ClusterLink";
	else if (settings->endpoint_count == 0)
		wrong = "Endpoints is missing; write those of etcd in [Etcd]";
	else if (settings->prefix[strlen(settings->prefix) - 1] != '/')
		wrong = "Prefix: it has to end with /";
	else if ((settings->cert[0] != '\0') != (settings->key[0] != '\0'))
		wrong = "Cert and Key: one without the other";
	else if ((settings->user[0] != '\0') != (reading->password_file[0] != '\0'))
		wrong = "User and PasswordFile: one without the other";
	if (wrong != NULL)
		return error_set(reading->error, -EINVAL, "%s: %s", reading->path, wrong);
	return settings->user[0] != '\0' ? read_password(reading) : 0;
}

static int name_socket(struct reading *reading)
{
	struct agent_settings *settings = reading->settings;
	size_t size = sizeof settings->socket;
	if (settings->socket[0] != '\0' ||
	    (size_t)snprintf(settings->socket, size, "%s/agent.sock", settings->state) < size)
		return 0;
	return error_set(reading->error, -EINVAL, "%s: State: longer than %zu characters; else give Socket as well",
			 reading->path, size - sizeof "/agent.sock");
}

/* Inside's first address, with a port of its own. */
static void name_agreement(struct agent_settings *settings)
{
	const char *end = settings->inside + strcspn(settings->inside, ",");
	while (end > settings->inside && *end != ':')
		end--;
	if (settings->agreement[0] == '\0' && end > settings->inside)
		(void)snprintf(settings->agreement, sizeof settings->agreement, "%.*s:%d",
			       (int)(end - settings->inside), settings->inside, SETTINGS_AGREEMENT_PORT);
}

int agent_settings_read(struct agent_settings *settings, const char *path, struct error *error)
{
	static const struct reader_handlers handlers = {.section = read_section, .setting = read_setting};
	struct reading reading = {.settings = settings, .path = path, .error = error};
	*settings = (struct agent_settings){.blocks = OWNERSHIP_BLOCKS - 1,
					    .log_level = LOG_LEVEL_INFO,
					    .control = CONTROL_DIRECTORY "/shardtund.sock",
					    .state = CONTROL_DIRECTORY "-agent",
					    .prefix = "/shardtun/"};
	int result = reader_run(path, false, &handlers, &reading, error);
	if (result == 0)
		result = name_socket(&reading);
	if (result == 0)
		result = check(&reading);
	name_agreement(settings);
	if (result != 0)
		agent_settings_free(settings);
	return result;
}

void agent_settings_free(struct agent_settings *settings)
{
	value_listener.free(&settings->metrics);
	explicit_bzero(settings, sizeof *settings);
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
