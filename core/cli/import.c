// SPDX-License-Identifier: Apache-2.0
#include "core/cli/import.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "config/ini.h"
#include "core/base/printable.h"

/* --- what is left out --------------------------------------------------------------------------------------------- */

#define SERVICE "the unit's ExecStartPost= and ExecStopPost= can run it (systemctl edit shardtund)"

/* What most of these commands are for. */
static const char *command_remedy(const char *value)
{
	bool masquerades = strcasestr(value, "masquerade") != NULL;
	bool forwards = strstr(value, "ip_forward") != NULL || strstr(value, "forwarding") != NULL;
	if (masquerades)
		return "Masquerade = INTERFACE, with Forward = yes, does what MASQUERADE does";
	return forwards ? "Forward = yes does that" : SERVICE;
}

static const char *mark_remedy(const char *value)
{
	bool none = strcasecmp(value, "off") == 0 || strcmp(value, "0") == 0 || strcmp(value, "0x0") == 0;
	return none ? NULL : "a gateway's packets have no mark";
}

static const char *table_remedy(const char *value)
{
	return strcasecmp(value, "auto") == 0
		       ? NULL
		       : "a gateway's routes are in table main, with metric 21845, which gives way";
}

static const char *dns_remedy(const char *value)
{
	(void)value;
	return "it is for this machine itself; a gateway's DNS is for its clients";
}

static const char *save_remedy(const char *value)
{
	return strcasecmp(value, "false") == 0 ? NULL : "'shardtunctl peer add --save' keeps a client";
}

enum { PATH_SHOWN = 512 };

/* On one line of a comment, whatever is in it. */
static const char *shown_path(const struct wireguard_server *file, char shown[PATH_SHOWN])
{
	(void)printable_copy(shown, PATH_SHOWN, file->gateway.file);
	return shown;
}

static void tell_texts(const char *option, const struct config_texts *texts, const char *(*remedy)(const char *value),
		       void (*tell)(void *context, const struct import_left *left), void *context)
{
	for (size_t i = 0; i < texts->count; i++) {
		const struct import_left left = {texts->lines[i], option, texts->items[i], remedy(texts->items[i])};
		if (left.remedy != NULL)
			tell(context, &left);
	}
}

void import_each_left(const struct wireguard_server *file, void (*tell)(void *context, const struct import_left *left),
		      void *context)
{
	const struct gateway_config *config = &file->gateway;
	char text[IP_TEXT_MAX], remedy[4 * IP_TEXT_MAX], path[PATH_SHOWN];
	if (file->dropped.address.family != 0) {
		ip_prefix_format(&file->dropped, text);
		(void)snprintf(remedy, sizeof remedy, "clients have other host numbers in it; ip address add %s dev %s",
			       text, config->common.interface[0] != '\0' ? config->common.interface : "shardtun0");
		tell(context, &(struct import_left){file->dropped_line, "Address", text, remedy});
	}
	if (config->listen_port == 0)
		tell(context, &(struct import_left){0, "ListenPort", "0", "write the port that clients have"});
	if (config->common.interface[0] == '\0')
		tell(context, &(struct import_left){0, "Interface", shown_path(file, path),
						    "no interface can be called so; it is called shardtun0"});
	tell_texts("FwMark", &file->fwmark, mark_remedy, tell, context);
	tell_texts("Table", &file->table, table_remedy, tell, context);
	tell_texts("DNS", &file->dns, dns_remedy, tell, context);
	tell_texts("SaveConfig", &file->save_config, save_remedy, tell, context);
	tell_texts("PreUp", &file->pre_up, command_remedy, tell, context);
	tell_texts("PostUp", &file->post_up, command_remedy, tell, context);
	tell_texts("PreDown", &file->pre_down, command_remedy, tell, context);
	tell_texts("PostDown", &file->post_down, command_remedy, tell, context);
}

const char *import_left_text(const struct import_left *left, char text[IMPORT_TEXT_MAX])
{
	char line[32] = "";
	if (left->line != 0)
		(void)snprintf(line, sizeof line, "line %u: ", left->line);
	(void)snprintf(text, IMPORT_TEXT_MAX, "%s%s = %.600s: not taken over; %s", line, left->option, left->value,
		       left->remedy);
	return reader_hide_keys(text);
}

/* --- the configuration -------------------------------------------------------------------------------------------- */

/* Not stdio, which keeps copies of secrets. */
struct buffer {
	char *start;
	size_t length, room;
	bool failed;
};

static void make_room(struct buffer *to, size_t more)
{
	enum { FIRST = 4096 };
	size_t room = to->room != 0 ? to->room : FIRST;
	while (room - to->length <= more)
		room *= 2;
	if (room == to->room)
		return;
	char *grown = calloc(1, room);
	to->failed = grown == NULL;
	if (to->start != NULL) {
		if (grown != NULL)
			memcpy(grown, to->start, to->length);
		explicit_bzero(to->start, to->room);
	}
	free(to->start);
	to->start = grown;
	to->room = grown != NULL ? room : 0;
}

static void PRINTF_LIKE(2, 3) append(struct buffer *to, const char *format, ...)
{
	va_list args, again;
	va_start(args, format);
	va_copy(again, args);
	int length = vsnprintf(NULL, 0, format, args);
	if (!to->failed)
		make_room(to, (size_t)length + 1);
	if (!to->failed)
		to->length += (size_t)vsnprintf(to->start + to->length, to->room - to->length, format, again);
	va_end(again);
	va_end(args);
}

static void append_prefixes(struct buffer *to, const char *key, const struct config_prefixes *list)
{
	char text[IP_TEXT_MAX];
	for (size_t i = 0; i < list->count; i++)
		append(to, "%s%s%s", i == 0 ? key : "", i == 0 ? " = " : ", ", ip_prefix_format(&list->items[i], text));
	append(to, "%s", list->count != 0 ? "\n" : "");
}

static void append_addresses(struct buffer *to, const char *key, const struct config_addresses *list)
{
	char text[IP_TEXT_MAX];
	for (size_t i = 0; i < list->count; i++)
		append(to, "%s%s%s", i == 0 ? key : "", i == 0 ? " = " : ", ",
		       ip_address_format(&list->items[i], text));
	append(to, "%s", list->count != 0 ? "\n" : "");
}

static void append_peer(struct buffer *to, const struct config_peer *peer)
{
	append(to, "\n[Peer]\nPublicKey = %s\nProtocol = wireguard\n", peer->public_key);
	if (peer->preshared_key != NULL)
		append(to, "PresharedKey = %s\n", peer->preshared_key);
	append_addresses(to, "Address", &peer->addresses);
	append_prefixes(to, "AllowedIPs", &peer->allowed_ips);
	if (peer->endpoint != NULL) {
		bool brackets = strchr(peer->endpoint->host, ':') != NULL;
		append(to, brackets ? "Endpoint = [%s]:%u\n" : "Endpoint = %s:%u\n", peer->endpoint->host,
		       peer->endpoint->port);
	}
	if (peer->persistent_keepalive != 0)
		append(to, "PersistentKeepalive = %u\n", peer->persistent_keepalive);
}

static void append_left(void *context, const struct import_left *left)
{
	char text[IMPORT_TEXT_MAX];
	append(context, "# %s\n", import_left_text(left, text));
}

static void append_hints(struct buffer *to, const struct wireguard_server *file, const char *key_file,
			 const char *wireguard_key_file)
{
	char path[PATH_SHOWN];
	append(to,
	       "# Its keys:\n"
	       "# (umask 077; shardtun genkey > %s)\n"
	       "# (umask 077; sed -n 's/^ *PrivateKey *= *//p' %s > %s)\n",
	       key_file, shown_path(file, path), wireguard_key_file);
}

char *import_format(const struct wireguard_server *file, const char *key_file, const char *wireguard_key_file,
		    bool hints)
{
	const struct gateway_config *config = &file->gateway;
	struct buffer to = {0};
	char path[PATH_SHOWN];
	append(&to, "# From %s, by shardtunctl import\n", shown_path(file, path));
	import_each_left(file, append_left, &to);
	if (hints)
		append_hints(&to, file, key_file, wireguard_key_file);
	append(&to, "\n[Gateway]\nPrivateKeyFile = %s\nWireGuard = yes\nWireGuardPrivateKeyFile = %s\n", key_file,
	       wireguard_key_file);
	if (config->common.interface[0] != '\0')
		append(&to, "Interface = %s\n", config->common.interface);
	append_prefixes(&to, "Address", &config->addresses);
	if (config->listen_port != 0)
		append(&to, "ListenPort = %u\n", config->listen_port);
	append(&to, "MTU = %u\n", config->mtu);
	for (size_t i = 0; i < config->peer_count; i++)
		append_peer(&to, &config->peers[i]);
	return to.start;
}
