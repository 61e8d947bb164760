// SPDX-License-Identifier: Apache-2.0
#include "core/gateway/settings.h"

#include <net/route.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/log.h"
#include "core/host/proc_words.h"
#include "core/host/sysctl.h"

enum { NAME_SIZE = 64, RP_FILTER_STRICT = 1 };

/* --- one setting -------------------------------------------------------------------------------------------------- */

static const char *dotted(const char *name, char text[NAME_SIZE])
{
	(void)snprintf(text, NAME_SIZE, "%s", name);
	for (char *slash = text; (slash = strchr(slash, '/')) != NULL;)
		*slash = '.';
	return text;
}

static void found_missing(struct reconcile_found *found, const char *name, const char *value)
{
	char text[NAME_SIZE];
	if (found->missing++ == 0)
		(void)snprintf(found->first, sizeof found->first, "%s = %s", dotted(name, text), value);
}

static void put_back(struct reconcile_found *found, const char *name, const char *value)
{
	char text[NAME_SIZE];
	int result = sysctl_write(name, value);
	if (result != 0 && found->left++ == 0)
		error_set(&found->error, result, "%s: %s; set it to %s before the start (sysctl -w, /etc/sysctl.d)",
			  dotted(name, text), strerror(-result), value);
}

/* One that is not there at all (no such interface, no IPv6) is none to keep, unless it is `needed`. */
static void want(struct reconcile_found *found, bool restore, const char *name, const char *value, bool needed)
{
	long is = sysctl_number(name);
	if (is < 0 && !needed)
		return;
	found->wanted++;
	if (is == strtol(value, NULL, 10))
		return;
	found_missing(found, name, value);
	if (restore)
		put_back(found, name, value);
}

/* That of one interface. */
static void want_of(struct reconcile_found *found, bool restore, const char *family, const char *interface,
		    const char *key, const char *value)
{
	char name[NAME_SIZE];
	(void)snprintf(name, sizeof name, "net/%s/conf/%.15s/%s", family, interface, key);
	want(found, restore, name, value, false);
}

/* --- Forward ------------------------------------------------------------------------------------------------------ */

/* A machine that forwards IPv6 ignores router advertisements, and loses the default route that it has from one, unless
 * accept_ra of the interface is 2. */
static void keep_advertised(struct gateway_settings *settings)
{
	FILE *file = fopen("/proc/net/ipv6_route", "re");
	if (file == NULL)
		return;
	enum { LENGTH = 1, FLAGS = 8, INTERFACE = 9 };
	char line[PROC_LINE], name[NAME_SIZE], *words[PROC_WORDS];
	while (fgets(line, sizeof line, file) != NULL) {
		if (proc_words(line, words) <= INTERFACE || strtoul(words[LENGTH], NULL, 16) != 0 ||
		    (strtoul(words[FLAGS], NULL, 16) & RTF_ADDRCONF) == 0)
			continue;
		const char *interface = words[INTERFACE];
		(void)snprintf(name, sizeof name, "net/ipv6/conf/%.15s/accept_ra", interface);
		if (sysctl_number(name) != 1)
			continue;
		int result = sysctl_write(name, "2");
		if (result != 0) {
			log_warning("Forward: %s loses its IPv6 default route: accept_ra: %s; set it to 2", interface,
				    strerror(-result));
			continue;
		}
		log_info("Forward: %s has its IPv6 default route from a router; accept_ra is 2 now, to keep it",
			 interface);
		if (settings->advertised_count < GATEWAY_ADVERTISED_MAX)
			(void)snprintf(settings->advertised[settings->advertised_count++], IF_NAMESIZE, "%s",
				       interface);
	}
	fclose(file);
}

/* Of each interface too: the kernel looks at the one by which a packet came in. */
static void forward_ipv4(const struct gateway_settings *settings, bool restore, struct reconcile_found *found)
{
	char interface[IF_NAMESIZE];
	want(found, restore, "net/ipv4/ip_forward", "1", true);
	if (if_indextoname(settings->ifindex, interface) != NULL)
		want_of(found, restore, "ipv4", interface, "forwarding", "1");
	for (size_t i = 0; i < settings->config->masquerade.count; i++)
		want_of(found, restore, "ipv4", settings->config->masquerade.items[i], "forwarding", "1");
}

static void forward_ipv6(struct gateway_settings *settings, bool restore, struct reconcile_found *found)
{
	static const char name[] = "net/ipv6/conf/all/forwarding";
	for (size_t i = 0; i < settings->advertised_count; i++)
		want_of(found, restore, "ipv6", settings->advertised[i], "accept_ra", "2");
	if (restore && sysctl_number(name) == 0)
		keep_advertised(settings);
	want(found, restore, name, "1", true);
}

void gateway_settings_forward(void *context, bool restore, struct reconcile_found *found)
{
	struct gateway_settings *settings = context;
	const struct gateway_config *config = settings->config;
	for (size_t i = 0; config->forward && i < config->addresses.count; i++) {
		if (config->addresses.items[i].address.family == 4)
			forward_ipv4(settings, restore, found);
		else if (!settings->no_ipv6)
			forward_ipv6(settings, restore, found);
	}
}

/* --- the reverse path filter -------------------------------------------------------------------------------------- */

bool gateway_settings_strict(const char *interface)
{
	char name[NAME_SIZE];
	(void)snprintf(name, sizeof name, "net/ipv4/conf/%.15s/rp_filter", interface);
	long all = sysctl_number("net/ipv4/conf/all/rp_filter"), own = sysctl_number(name);
	return (all > own ? all : own) == RP_FILTER_STRICT; /* as the kernel does */
}

/* The sources of what comes from a client are checked before it gets to the interface. */
void gateway_settings_filter(void *context, bool restore, struct reconcile_found *found)
{
	const struct gateway_settings *settings = context;
	char interface[IF_NAMESIZE], name[NAME_SIZE];
	if (if_indextoname(settings->ifindex, interface) == NULL)
		return;
	found->wanted = 1;
	if (!gateway_settings_strict(interface))
		return;
	(void)snprintf(name, sizeof name, "net/ipv4/conf/%.15s/rp_filter", interface);
	found_missing(found, name, "2");
	if (restore)
		put_back(found, name, "2");
}
