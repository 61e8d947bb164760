// SPDX-License-Identifier: Apache-2.0
#include "config/parser.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/ini.h"

static const struct option_table *rule_table(const struct section_rule *rule)
{
	return &option_tables[rule->section];
}

unsigned loader_line(const struct loader *loader, const char *name)
{
	const struct option_table *table = rule_table(loader->rule);
	return loader->set_on[option_find(table, name) - table->rows];
}

/* What a message quotes. */
static const char *shown(const struct option_row *row, const char *text)
{
	return row->type->secret ? "(hidden)" : text;
}

static int option_parse(struct loader *loader, const struct option_row *row, const char *text, unsigned line)
{
	struct value_context context = {
		.low = row->low, .high = row->high, .directory = loader->directory, .line = line};
	int result = row->type->parse((char *)loader->target + row->offset, text, &context, loader->error);
	if (result != 0)
		return error_prefix(loader->error, result, "%s:%u: %s = %.150s: ", loader->path, line, row->name,
				    shown(row, text));
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
			result = error_set(
				loader->error, -EINVAL,
				"%s:%u: %s = %.150s: nothing beside a comma; write one comma between two items",
				loader->path, line, row->name, text);
		else
			result = option_parse(loader, row, item, line);
	}
	free(copy);
	return result;
}

int loader_either(const struct loader *loader, const char *one, const char *other, bool optional)
{
	const struct option_table *table = rule_table(loader->rule);
	const char *names[] = {one, other};
	unsigned lines[] = {loader_line(loader, one), loader_line(loader, other)};
	if (lines[0] == 0 && lines[1] == 0)
		return optional ? 0
				: error_set(loader->error, -EINVAL,
					    "%s:%u: [%s]: %s is missing; write %s = %s or %s = %s", loader->path,
					    loader->header_line, table->section, one, one,
					    option_find(table, one)->form, other, option_find(table, other)->form);
	if (lines[0] == 0 || lines[1] == 0)
		return 0;
	bool second = lines[1] > lines[0];
	return error_set(loader->error, -EINVAL, "%s:%u: %s: line %u has %s for the same key; keep one of them",
			 loader->path, lines[second], names[second], lines[!second], names[!second]);
}

static int option_set(struct loader *loader, const struct option_row *row, const char *text, unsigned line)
{
	return row->type->list && !row->type->whole_lines ? option_parse_list(loader, row, text, line)
							  : option_parse(loader, row, text, line);
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
	return loader->rule->end != NULL ? loader->rule->end(loader) : 0;
}

/* "[Gateway] and [Peer]", or "[Peer]" */
static const char *rules_format(const struct loader *loader, char *text, size_t size)
{
	size_t used = 0;
	for (size_t i = 0; i < loader->rule_count && used < size; i++)
		used += (size_t)snprintf(text + used, size - used, "%s[%s]", i != 0 ? " and " : "",
					 rule_table(&loader->rules[i])->section);
	return text;
}

/* The directory of a pipe (/dev/fd) means nothing: relative paths start at the working directory, made absolute so that
 * they hold when that changes. */
static int on_opened(void *user, unsigned mode)
{
	struct loader *loader = user;
	loader->mode = mode & ALLPERMS;
	if (S_ISREG(mode))
		return 0;
	char *here = getcwd(NULL, 0);
	free(loader->directory);
	if (here == NULL || asprintf(&loader->directory, "%s/", here) < 0)
		loader->directory = NULL;
	int code = -errno;
	free(here);
	return loader->directory != NULL
		       ? 0
		       : error_set(loader->error, code, "%s: working directory: %s", loader->path, strerror(-code));
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

/* It may be a secret whose key was mistyped. */
static int refuse_unknown(const struct loader *loader, const char *key, char *value, unsigned line)
{
	char known[64], setting[256];
	reader_cut_comment(value);
	(void)snprintf(setting, sizeof setting, "%s = %s", key, value);
	reader_hide_keys(setting);
	if (loader->rule == NULL)
		return error_set(loader->error, -EINVAL, "%s:%u: %s: not in a section; this file has %s", loader->path,
				 line, setting, rules_format(loader, known, sizeof known));
	return error_set(loader->error, -EINVAL, "%s:%u: %s: unknown key in [%s]; %s", loader->path, line, setting,
			 rule_table(loader->rule)->section,
			 loader->of_wireguard ? "wg(8) and wg-quick(8) have none like that" : "--help lists them all");
}

static void cut_any_comment(char *value)
{
	char *end = value + strcspn(value, "#");
	while (end > value && strchr(" \t", end[-1]) != NULL)
		end--;
	*end = '\0';
}

/* A command is the shell's, which knows quotes and has comments of its own. */
static int on_setting(void *user, const char *key, char *value, unsigned line)
{
	struct loader *loader = user;
	const struct option_table *table = loader->rule != NULL ? rule_table(loader->rule) : NULL;
	const struct option_row *row = table != NULL ? option_find(table, key) : NULL;
	if (row == NULL)
		return refuse_unknown(loader, key, value, line);
	if (loader->of_wireguard)
		cut_any_comment(value);
	else if (!row->type->whole_lines)
		reader_cut_comment(value);
	unsigned *set_on = &loader->set_on[row - table->rows];
	if (*set_on != 0 && !row->type->list)
		return error_set(loader->error, -EINVAL, "%s:%u: %s = %.150s: given on line %u already; write it once",
				 loader->path, line, row->name, shown(row, value), *set_on);
	if (value[0] == '\0' && loader->of_wireguard && row->type->list)
		return 0;
	if (value[0] == '\0')
		return error_set(loader->error, -EINVAL, "%s:%u: %s = : nothing given; write %s = %s", loader->path,
				 line, row->name, row->name, row->form);
	if (row->type->secret && (loader->mode & S_IRWXO) != 0)
		return error_set(
			loader->error, -EPERM,
			"%s:%u: %s = (hidden): a secret in a file that others may access (mode %04o); run chmod "
			"o= %s",
			loader->path, line, row->name, loader->mode, loader->path);
	if (*set_on == 0)
		*set_on = line;
	return option_set(loader, row, value, line);
}

int loader_run(struct loader *loader)
{
	static const struct reader_handlers handlers = {
		.opened = on_opened, .section = on_section, .setting = on_setting};
	const char *slash = strrchr(loader->path, '/');
	loader->directory = strndup(loader->path, slash != NULL ? (size_t)(slash - loader->path) + 1 : 0);
	if (loader->directory == NULL)
		return error_set(loader->error, -ENOMEM, "%s: out of memory", loader->path);
	int result = reader_run(loader->path, loader->streams, &handlers, loader, loader->error);
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

void loader_free(enum config_section section, void *target)
{
	const struct option_table *table = &option_tables[section];
	for (size_t i = 0; i < table->count; i++) {
		if (table->rows[i].type->free != NULL)
			table->rows[i].type->free((char *)target + table->rows[i].offset);
	}
}
