// SPDX-License-Identifier: Apache-2.0
/* The types of config/value.h that are lists with any number of items. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "config/value.h"

static int no_memory(struct error *error)
{
	return error_set(error, -ENOMEM, "out of memory");
}

/* Makes room for one more of `size` bytes where `count` are; grows by doubling, so only at powers of two. */
static bool array_grow(void *items_pointer, size_t count, size_t size)
{
	void **items = items_pointer;
	if ((count & (count - 1)) != 0)
		return true;
	void *grown = reallocarray(*items, count == 0 ? 1 : 2 * count, size);
	if (grown == NULL)
		return false;
	*items = grown;
	return true;
}

static int parse_addresses(void *target, const char *text, const struct value_context *context, struct error *error)
{
	struct config_addresses *list = target;
	struct ip_address address;
	if (!ip_address_parse(text, &address))
		return error_set(error, -EINVAL,
				 "no IP address; for example 10.8.0.7 or fd00:8::7, without a prefix length");
	if (list->count == context->high)
		return error_set(error, -EINVAL, "one address too many; at most %" PRIu64, context->high);
	if (!array_grow(&list->items, list->count, sizeof *list->items) ||
	    !array_grow(&list->lines, list->count, sizeof *list->lines))
		return no_memory(error);
	list->items[list->count] = address;
	list->lines[list->count++] = context->line;
	return 0;
}

static void free_addresses(void *target)
{
	struct config_addresses *list = target;
	free(list->items);
	free(list->lines);
	*list = (struct config_addresses){0};
}

static int parse_prefixes(void *target, const char *text, const struct value_context *context, struct error *error)
{
	struct config_prefixes *list = target;
	struct ip_prefix prefix;
	if (!ip_prefix_parse(text, &prefix))
		return error_set(error, -EINVAL, "no IP network; for example 10.8.0.1/16 or fd00:8::1/64");
	if (list->count == context->high)
		return error_set(error, -EINVAL, "one network too many; at most %" PRIu64, context->high);
	if (!array_grow(&list->items, list->count, sizeof *list->items) ||
	    !array_grow(&list->lines, list->count, sizeof *list->lines))
		return no_memory(error);
	list->items[list->count] = prefix;
	list->lines[list->count++] = context->line;
	return 0;
}

static void free_prefixes(void *target)
{
	struct config_prefixes *list = target;
	free(list->items);
	free(list->lines);
	*list = (struct config_prefixes){0};
}

static int parse_interfaces(void *target, const char *text, const struct value_context *context, struct error *error)
{
	struct config_interfaces *list = target;
	char name[CONFIG_INTERFACE_SIZE];
	int result = value_interface.parse(name, text, context, error);
	if (result != 0)
		return result;
	if (list->count == context->high)
		return error_set(error, -EINVAL, "one interface too many; at most %" PRIu64, context->high);
	if (!array_grow(&list->items, list->count, sizeof *list->items) ||
	    !array_grow(&list->lines, list->count, sizeof *list->lines))
		return no_memory(error);
	memcpy(list->items[list->count], name, sizeof name);
	list->lines[list->count++] = context->line;
	return 0;
}

static void free_interfaces(void *target)
{
	struct config_interfaces *list = target;
	free(list->items);
	free(list->lines);
	*list = (struct config_interfaces){0};
}

static int parse_dns(void *target, const char *text, const struct value_context *context, struct error *error)
{
	struct config_dns *dns = target;
	bool automatic = strcasecmp(text, "auto") == 0, off = strcasecmp(text, "off") == 0;
	bool first = !dns->automatic && !dns->off && dns->servers.count == 0;
	if (dns->automatic || dns->off || ((automatic || off) && !first))
		return error_set(error, -EINVAL, "'auto' and 'off' stand alone; write one of them, or addresses");
	dns->automatic = automatic;
	dns->off = off;
	struct ip_address address;
	if (automatic || off)
		return 0;
	if (!ip_address_parse(text, &address))
		return error_set(error, -EINVAL, "neither 'auto' nor 'off' nor an IP address; for example 10.8.0.1");
	return parse_addresses(&dns->servers, text, context, error);
}

static void free_dns(void *target)
{
	free_addresses(&((struct config_dns *)target)->servers);
}

static int parse_commands(void *target, const char *text, const struct value_context *context, struct error *error)
{
	struct config_commands *list = target;
	if (list->count == context->high)
		return error_set(error, -EINVAL, "one command too many; at most %" PRIu64, context->high);
	if (!array_grow(&list->items, list->count, sizeof *list->items) ||
	    (list->items[list->count] = strdup(text)) == NULL)
		return no_memory(error);
	list->count++;
	return 0;
}

static void free_commands(void *target)
{
	struct config_commands *list = target;
	for (size_t i = 0; i < list->count; i++)
		free(list->items[i]);
	free(list->items);
	*list = (struct config_commands){0};
}

static int parse_texts(void *target, const char *text, const struct value_context *context, struct error *error)
{
	struct config_texts *list = target;
	if (list->count == context->high)
		return error_set(error, -EINVAL, "one too many; at most %" PRIu64, context->high);
	if (!array_grow(&list->items, list->count, sizeof *list->items) ||
	    !array_grow(&list->lines, list->count, sizeof *list->lines) ||
	    (list->items[list->count] = strdup(text)) == NULL)
		return no_memory(error);
	list->lines[list->count++] = context->line;
	return 0;
}

static void free_texts(void *target)
{
	struct config_texts *list = target;
	for (size_t i = 0; i < list->count; i++)
		free(list->items[i]);
	free(list->items);
	free(list->lines);
	*list = (struct config_texts){0};
}

const struct value_type value_addresses = {.list = true, .parse = parse_addresses, .free = free_addresses};
const struct value_type value_interfaces = {.list = true, .parse = parse_interfaces, .free = free_interfaces};
const struct value_type value_prefixes = {.list = true, .parse = parse_prefixes, .free = free_prefixes};
const struct value_type value_dns = {.list = true, .parse = parse_dns, .free = free_dns};
const struct value_type value_commands = {
	.list = true, .whole_lines = true, .parse = parse_commands, .free = free_commands};
const struct value_type value_texts = {.list = true, .whole_lines = true, .parse = parse_texts, .free = free_texts};
