// SPDX-License-Identifier: Apache-2.0
#include "perf/export/http_host.h"

#include <string.h>

#include "core/base/ip.h"

static bool is_port(const char *text)
{
	return *text == '\0' || (*text == ':' && text[1 + strspn(text + 1, "0123456789")] == '\0');
}

static bool is_address(const char *text, size_t length, unsigned family)
{
	char copy[IP_TEXT_MAX];
	struct ip_address address;
	if (length >= sizeof copy)
		return false;
	memcpy(copy, text, length);
	copy[length] = '\0';
	return ip_address_parse(copy, &address) && address.family == family;
}

static bool is_name(const char *text, size_t length, const char *name)
{
	return length > 0 && strlen(name) == length && strncasecmp(text, name, length) == 0;
}

bool http_host_is_ours(const char *host, const char *own_name)
{
	if (*host == '[') {
		size_t length = strcspn(host + 1, "]");
		const char *end = host + 1 + length;
		return *end == ']' && is_port(end + 1) && is_address(host + 1, length, 6);
	}
	size_t length = strcspn(host, ":");
	return is_port(host + length) &&
	       (is_address(host, length, 4) || is_name(host, length, "localhost") || is_name(host, length, own_name));
}
