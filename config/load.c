// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "config/check.h"
#include "config/options.h"
#include "config/reader.h"

struct loader;

/* A section that a kind of file may have. */
struct section_rule {
	enum config_section section;
	bool repeatable;
	/* Yields the struct that the options' offsets count from; NULL when memory is short. */
	void *(*begin)(struct loader *loader);
	/* Called when the section is complete and right; may be NULL. */
	void (*end)(struct loader *loader);
};

struct loader {
	const char *path;
	char *directory;
	void *config; /* struct gateway_config or client_config */
	struct error *error;
	const struct section_rule *rules;
	size_t rule_count;
	unsigned header_lines[2]; /* per rule: where it stood first; 0 when it did not */
	struct config_lines lines;
	/* the section being read */
	const struct section_rule *rule; /* NULL before the first */
	void *target;
	unsigned header_line;
	unsigned set_on[OPTIONS_PER_SECTION]; /* per row; 0 when not set */
};

static const struct option_table *rule_table(const struct section_rule *rule)
{
	return &option_tables[rule->section];
}

/* Where the option stands in the section being read. */
static unsigned option_line(const struct loader *loader, const char *name)
{
	const struct option_table *table = rule_table(loader->rule);
	return loader->set_on[option_find(table, name) - table->rows];
}

static int option_parse(struct loader *loader, const struct option_row *row, const char *text, unsigned line)
{
	struct value_context context = {
		.low = row->low, .high = row->high, .directory = loader->directory, .line = line};
	int result = row->type->parse((char *)loader->target + row->offset, text, &context, loader->error);
	if (result != 0)
		return error_prefix(loader->error, result, "%s:%u: %s = %s: ", loader->path, line, row->name, text);
	return 0;
}

static int option_parse_list(struct loader *loader, const struct option_row *row, const char *text, unsigned line)
{
	char *copy = strdup(text);
	if (copy == NULL)
		return error_set(loader->error, -ENOMEM, "%s: out of memory", loader->path);
	int result = 0;
	char *rest = copy;
	for (char *item; result == 0 && (item = strsep(&rest, ",")) != NULL;) {
		item += strspn(item, " \t");
		size_t length = strlen(item);
		while (length > 0 && strchr(" \t", item[length - 1]) != NULL)
			item[--length] = '\0';
		if (length == 0)
			result = error_set(loader->error, -EINVAL,
					   "%s:%u: %s = %s: nothing beside a comma; write one comma between two items",
					   loader->path, line, row->name, text);
		else
			result = option_parse(loader, row, item, line);
	}
	free(copy);
	return result;
}

static int option_set(struct loader *loader, const struct option_row *row, const char *text, unsigned line)
{
	return row->type->list ? option_parse_list(loader, row, text, line) : option_parse(loader, row, text, line);
}

/* Fills what the file left out. */
static int section_finish(struct loader *loader)
{
	if (loader->rule == NULL)
		return 0;
	const struct option_table *table = rule_table(loader->rule);
	for (size_t i = 0; i < table->count; i++) {
		const struct option_row *row = &table->rows[i];
		if (loader->set_on[i] != 0)
			continue;
		if (row->default_text == NULL)
			return error_set(loader->error, -EINVAL, "%s:%u: [%s]: %s is missing; write %s = %s",
					 loader->path, loader->header_line, table->section, row->name, row->name,
					 row->form);
		int result = row->default_text[0] == '\0' ? 0 : option_set(loader, row, row->default_text, 0);
		if (result != 0)
			return result;
	}
	if (loader->rule->end != NULL)
		loader->rule->end(loader);
	return 0;
}

/* "[Gateway] and [Peer]" */
static const char *rules_format(const struct loader *loader, char *text, size_t size)
{
	snprintf(text, size, "[%s] and [%s]", rule_table(&loader->rules[0])->section,
		 rule_table(&loader->rules[1])->section);
	return text;
}

static int on_section(void *user, const char *name, unsigned line)
{
	struct loader *loader = user;
	int result = section_finish(loader);
	if (result != 0)
		return result;

	size_t i = 0;
	while (i < loader->rule_count && strcasecmp(name, rule_table(&loader->rules[i])->section) != 0)
		i++;
	if (i == loader->rule_count) {
		char known[64];
		return error_set(loader->error, -EINVAL, "%s:%u: [%s]: unknown section; this file has %s", loader->path,
				 line, name, rules_format(loader, known, sizeof known));
	}
	if (loader->header_lines[i] != 0 && !loader->rules[i].repeatable)
		return error_set(loader->error, -EINVAL, "%s:%u: [%s]: a second one; put its keys under line %u's",
				 loader->path, line, name, loader->header_lines[i]);
	if (loader->header_lines[i] == 0)
		loader->header_lines[i] = line;
	loader->rule = &loader->rules[i];
	loader->header_line = line;
	memset(loader->set_on, 0, sizeof loader->set_on);
	loader->target = loader->rule->begin(loader);
	if (loader->target == NULL)
		return error_set(loader->error, -ENOMEM, "%s: out of memory", loader->path);
	return 0;
}

static int on_setting(void *user, const char *key, const char *value, unsigned line)
{
	struct loader *loader = user;
	if (loader->rule == NULL) {
		char known[64];
		return error_set(loader->error, -EINVAL, "%s:%u: %s = %s: not in a section; this file has %s",
				 loader->path, line, key, value, rules_format(loader, known, sizeof known));
	}
	const struct option_table *table = rule_table(loader->rule);
	const struct option_row *row = option_find(table, key);
	if (row == NULL)
		return error_set(loader->error, -EINVAL, "%s:%u: %s = %s: unknown key in [%s]; --help lists them all",
				 loader->path, line, key, value, table->section);
	unsigned *set_on = &loader->set_on[row - table->rows];
	if (*set_on != 0 && !row->type->list)
		return error_set(loader->error, -EINVAL, "%s:%u: %s = %s: given on line %u already; write it once",
				 loader->path, line, row->name, value, *set_on);
	if (value[0] == '\0')
		return error_set(loader->error, -EINVAL, "%s:%u: %s = : nothing given; write %s = %s", loader->path,
				 line, row->name, row->name, row->form);
	if (*set_on == 0)
		*set_on = line;
	return option_set(loader, row, value, line);
}

/* Reads the whole file to loader->config. */
static int loader_run(struct loader *loader)
{
	static const struct reader_handlers handlers = {.section = on_section, .setting = on_setting};
	const char *slash = strrchr(loader->path, '/');
	loader->directory = strndup(loader->path, slash != NULL ? (size_t)(slash - loader->path) + 1 : 0);
	if (loader->directory == NULL)
		return error_set(loader->error, -ENOMEM, "%s: out of memory", loader->path);
	int result = reader_run(loader->path, &handlers, loader, loader->error);
	if (result == 0)
		result = section_finish(loader);
	for (size_t i = 0; i < loader->rule_count && result == 0; i++) {
		if (loader->header_lines[i] == 0 && !loader->rules[i].repeatable) {
			char known[64];
			result = error_set(loader->error, -EINVAL, "%s: no [%s] section; this file has %s",
					   loader->path, rule_table(&loader->rules[i])->section,
					   rules_format(loader, known, sizeof known));
		}
	}
	free(loader->directory);
	return result;
}

/* The default depends on another option, so it is in no table. */
static int default_control_socket(struct config_common *common, const char *path, struct error *error)
{
	if (common->control_socket == NULL &&
	    asprintf(&common->control_socket, "/run/shardtun/%s.sock", common->interface) < 0) {
		common->control_socket = NULL;
		return error_set(error, -ENOMEM, "%s: out of memory", path);
	}
	return 0;
}

static void options_free(enum config_section section, void *target)
{
	const struct option_table *table = &option_tables[section];
	for (size_t i = 0; i < table->count; i++) {
		if (table->rows[i].type->free != NULL)
			table->rows[i].type->free((char *)target + table->rows[i].offset);
	}
}

/* The begin of sections that stand once: their options are members of the whole. */
static void *config_begin(struct loader *loader)
{
	return loader->config;
}

/* --- the gateway's file ------------------------------------------------------------------------------------------- */

static void gateway_end(struct loader *loader)
{
	loader->lines.mtu = option_line(loader, "MTU");
	loader->lines.tun_readers = option_line(loader, "TunReaders");
}

static void *peer_begin(struct loader *loader)
{
	struct gateway_config *config = loader->config;
	size_t count = config->peer_count;
	if ((count & (count - 1)) == 0) {
		void *peers = reallocarray(config->peers, count == 0 ? 1 : 2 * count, sizeof *config->peers);
		if (peers == NULL)
			return NULL;
		config->peers = peers;
	}
	config->peers[count] = (struct config_peer){0};
	return &config->peers[config->peer_count++];
}

static void peer_end(struct loader *loader)
{
	struct config_peer *peer = loader->target;
	peer->line = option_line(loader, "PublicKey");
}

int config_load_gateway(const char *path, struct gateway_config **result_config, struct error *error)
{
	static const struct section_rule rules[] = {
		{CONFIG_SECTION_GATEWAY, false, config_begin, gateway_end},
		{CONFIG_SECTION_PEER, true, peer_begin, peer_end},
	};
	*result_config = NULL;
	struct gateway_config *config = calloc(1, sizeof *config);
	if (config == NULL || (config->file = strdup(path)) == NULL) {
		config_free_gateway(config);
		return error_set(error, -ENOMEM, "%s: out of memory", path);
	}
	struct loader loader = {
		.path = path, .config = config, .error = error, .rules = rules, .rule_count = ARRAY_SIZE(rules)};
	int result = loader_run(&loader);
	if (result == 0)
		result = default_control_socket(&config->common, path, error);
	if (result == 0)
		result = config_check_gateway(config, &loader.lines, error);
	if (result != 0)
		config_free_gateway(config);
	else
		*result_config = config;
	return result;
}

void config_free_gateway(struct gateway_config *config)
{
	if (config == NULL)
		return;
	for (size_t i = 0; i < config->peer_count; i++)
		options_free(CONFIG_SECTION_PEER, &config->peers[i]);
	options_free(CONFIG_SECTION_GATEWAY, config);
	free(config->peers);
	free(config->file);
	free(config);
}

/* --- the client's file -------------------------------------------------------------------------------------------- */

static void client_end(struct loader *loader)
{
	loader->lines.mtu = option_line(loader, "MTU");
	loader->lines.route_table = option_line(loader, "RouteTable");
}

int config_load_client(const char *path, struct client_config **result_config, struct error *error)
{
	static const struct section_rule rules[] = {
		{CONFIG_SECTION_CLIENT, false, config_begin, client_end},
		{CONFIG_SECTION_REMOTE, false, config_begin, NULL},
	};
	*result_config = NULL;
	struct client_config *config = calloc(1, sizeof *config);
	if (config == NULL || (config->file = strdup(path)) == NULL) {
		config_free_client(config);
		return error_set(error, -ENOMEM, "%s: out of memory", path);
	}
	struct loader loader = {
		.path = path, .config = config, .error = error, .rules = rules, .rule_count = ARRAY_SIZE(rules)};
	int result = loader_run(&loader);
	if (result == 0)
		result = default_control_socket(&config->common, path, error);
	if (result == 0)
		result = config_check_client(config, &loader.lines, error);
	if (result != 0)
		config_free_client(config);
	else
		*result_config = config;
	return result;
}

void config_free_client(struct client_config *config)
{
	if (config == NULL)
		return;
	options_free(CONFIG_SECTION_CLIENT, config);
	options_free(CONFIG_SECTION_REMOTE, config);
	free(config->file);
	free(config);
}
