// SPDX-License-Identifier: Apache-2.0
#include "config/value.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "crypto/aead.h"

static int no_memory(struct error *error)
{
	return error_set(error, -ENOMEM, "out of memory");
}

static void free_text(void *target)
{
	char **text = target;
	free(*text);
	*text = NULL;
}

static int parse_path(void *target, const char *text, const struct value_context *context, struct error *error)
{
	char *path;
	if (asprintf(&path, "%s%s", text[0] == '/' ? "" : context->directory, text) < 0)
		return no_memory(error);
	if (strlen(path) > context->high) {
		free(path);
		return error_set(error, -EINVAL, "makes a path that is too long; at most %" PRIu64 " bytes",
				 context->high);
	}
	*(char **)target = path;
	return 0;
}

/* So that it is one word of a request, and a file can have it as its name. */
static int parse_name(void *target, const char *text, const struct value_context *context, struct error *error)
{
	bool valid = strlen(text) <= context->high && text[0] != '.' && text[0] != '-';
	for (const char *c = text; *c != '\0'; c++)
		valid = valid && (isalnum((unsigned char)*c) || strchr("._@+-", *c) != NULL);
	if (!valid)
		return error_set(error, -EINVAL,
				 "no name; 1 to %" PRIu64 " of A-Z, a-z, 0-9, '.', '_', '@', '+' and '-', the first no "
				 "'.' and no '-'",
				 context->high);
	*(char **)target = strdup(text);
	return *(char **)target != NULL ? 0 : no_memory(error);
}

/* The kernel's rule for names (dev_valid_name), and no '%', which would make it a template. */
static int parse_interface(void *target, const char *text, const struct value_context *context, struct error *error)
{
	(void)context;
	size_t length = strlen(text);
	bool valid = length < CONFIG_INTERFACE_SIZE && strcmp(text, ".") != 0 && strcmp(text, "..") != 0;
	for (const char *c = text; *c != '\0'; c++)
		valid = valid && isgraph((unsigned char)*c) && strchr("/:%", *c) == NULL;
	if (!valid)
		return error_set(error, -EINVAL,
				 "no interface name; 1 to %d characters, none of them '/', ':', '%%' or a space",
				 CONFIG_INTERFACE_SIZE - 1);
	memcpy(target, text, length + 1);
	return 0;
}

/* What can stand in /etc/passwd; whether it does is for the start to find out. */
static int parse_user(void *target, const char *text, const struct value_context *context, struct error *error)
{
	(void)context;
	size_t length = strlen(text);
	bool valid = length < CONFIG_USER_SIZE && (isalpha((unsigned char)text[0]) || text[0] == '_');
	for (const char *c = text; *c != '\0'; c++)
		valid = valid && (isalnum((unsigned char)*c) || strchr("_-.", *c) != NULL);
	if (!valid)
		return error_set(error, -EINVAL,
				 "no user's name; 'auto', or up to %d letters, digits, '_', '-' and '.'",
				 CONFIG_USER_SIZE - 1);
	memcpy(target, text, length + 1);
	return 0;
}

/* Decimal digits up to `end`, and no more than 32 bits. */
static bool digits_parse(const char *text, size_t length, uint64_t *number)
{
	uint64_t value = 0;
	for (size_t i = 0; i < length; i++) {
		if (!isdigit((unsigned char)text[i]))
			return false;
		value = value * 10 + (uint64_t)(text[i] - '0');
		if (value > UINT32_MAX)
			return false;
	}
	*number = value;
	return length > 0;
}

static bool number_in_range(const char *text, const struct value_context *context, uint64_t *number)
{
	return digits_parse(text, strlen(text), number) && *number >= context->low && *number <= context->high;
}

static int parse_number(void *target, const char *text, const struct value_context *context, struct error *error)
{
	uint64_t number;
	if (!number_in_range(text, context, &number))
		return error_set(error, -EINVAL, "not a number from %" PRIu64 " to %" PRIu64, context->low,
				 context->high);
	*(uint32_t *)target = (uint32_t)number;
	return 0;
}

static int parse_number_or(void *target, const char *text, const char *word, const struct value_context *context,
			   struct error *error)
{
	uint64_t number = 0;
	if (strcasecmp(text, word) != 0 && !number_in_range(text, context, &number))
		return error_set(error, -EINVAL, "neither '%s' nor a number from %" PRIu64 " to %" PRIu64, word,
				 context->low, context->high);
	*(uint32_t *)target = (uint32_t)number;
	return 0;
}

static int parse_number_or_auto(void *target, const char *text, const struct value_context *context,
				struct error *error)
{
	return parse_number_or(target, text, "auto", context, error);
}

/* Where 0 is a number like others. */
static int parse_count_or_auto(void *target, const char *text, const struct value_context *context, struct error *error)
{
	uint32_t number = 0;
	int result = parse_number_or(&number, text, "auto", context, error);
	if (result == 0)
		*(int32_t *)target = strcasecmp(text, "auto") == 0 ? CONFIG_AUTO : (int32_t)number;
	return result;
}

static int parse_number_or_off(void *target, const char *text, const struct value_context *context, struct error *error)
{
	return parse_number_or(target, text, "off", context, error);
}

static int parse_table(void *target, const char *text, const struct value_context *context, struct error *error)
{
	uint64_t number = strcasecmp(text, "auto") == 0 ? CONFIG_TABLE_AUTO : 0;
	if (number == 0 && strcasecmp(text, "off") != 0 && !number_in_range(text, context, &number))
		return error_set(error, -EINVAL, "neither 'auto' nor 'off' nor a number from %" PRIu64 " to %" PRIu64,
				 context->low, context->high);
	*(uint32_t *)target = (uint32_t)number;
	return 0;
}

static int parse_size(void *target, const char *text, const struct value_context *context, struct error *error)
{
	static const char units[] = "KMG";
	size_t length = strlen(text);
	const char *unit = length > 0 ? strchr(units, toupper((unsigned char)text[length - 1])) : NULL;
	unsigned shift = unit != NULL ? 10 * (unsigned)(unit - units + 1) : 0;
	uint64_t number;
	if (!digits_parse(text, unit != NULL ? length - 1 : length, &number) || number << shift < context->low ||
	    number << shift > context->high)
		return error_set(error, -EINVAL, "not a size from %" PRIu64 " to %" PRIu64 " bytes; for example 8M",
				 context->low, context->high);
	*(uint32_t *)target = (uint32_t)(number << shift);
	return 0;
}

static int parse_size_or_auto(void *target, const char *text, const struct value_context *context, struct error *error)
{
	*(uint32_t *)target = 0;
	int result = strcasecmp(text, "auto") == 0 ? 0 : parse_size(target, text, context, error);
	return result == 0 ? 0 : error_prefix(error, result, "neither 'auto' nor a size: ");
}

static int parse_rate(void *target, const char *text, const struct value_context *context, struct error *error)
{
	static const char units[] = "KMGT";
	static const uint64_t factors[] = {1, 1000, 1000000, 1000000000, 1000000000000};
	enum { BITS = 1000 /* of the unit in which it is kept */ };
	size_t length = strlen(text);
	const char *unit = length > 0 ? strchr(units, toupper((unsigned char)text[length - 1])) : NULL;
	uint64_t number, factor = factors[unit != NULL ? unit - units + 1 : 0];
	if (strcasecmp(text, "off") == 0) {
		*(uint32_t *)target = CONFIG_RATE_OFF;
		return 0;
	}
	if (!digits_parse(text, unit != NULL ? length - 1 : length, &number) || number > context->high / factor ||
	    number * factor < context->low)
		return error_set(error, -EINVAL,
				 "neither 'off' nor a rate from %" PRIu64 "K to %" PRIu64
				 "T bits a second; for example 20M",
				 context->low / factors[1], context->high / factors[4]);
	*(uint32_t *)target = (uint32_t)(number * factor / BITS);
	return 0;
}

/* BYTES/PERIOD */
static int parse_quota(void *target, const char *text, const struct value_context *context, struct error *error)
{
	static const char units[] = "KMGT";
	struct config_quota *quota = target;
	const char *slash = strchr(text, '/');
	size_t length = slash != NULL ? (size_t)(slash - text) : 0;
	const char *unit = length > 0 ? strchr(units, toupper((unsigned char)text[length - 1])) : NULL;
	unsigned shift = unit != NULL ? 10 * (unsigned)(unit - units + 1) : 0;
	uint64_t number;
	if (strcasecmp(text, "off") == 0) {
		*quota = (struct config_quota){.bytes = CONFIG_QUOTA_OFF};
		return 0;
	}
	if (slash == NULL || !calendar_parse(slash + 1, strlen(slash + 1), &quota->period) ||
	    !digits_parse(text, unit != NULL ? length - 1 : length, &number) || number > context->high >> shift ||
	    number << shift < context->low)
		return error_set(error, -EINVAL,
				 "neither 'off' nor %" PRIu64 "K to %" PRIu64
				 "T bytes in a day, week or month; for example 100G/month",
				 context->low >> 10, context->high >> 40);
	quota->bytes = number << shift;
	return 0;
}

static int parse_port(void *target, const char *text, const struct value_context *context, struct error *error)
{
	uint32_t port = 0;
	int result = parse_number(&port, text, context, error);
	if (result == 0)
		*(uint16_t *)target = (uint16_t)port;
	return result;
}

static int parse_yes_no(void *target, const char *text, const struct value_context *context, struct error *error)
{
	(void)context;
	bool yes = strcasecmp(text, "yes") == 0;
	if (!yes && strcasecmp(text, "no") != 0)
		return error_set(error, -EINVAL, "neither 'yes' nor 'no'");
	*(bool *)target = yes;
	return 0;
}

static int parse_cipher(void *target, const char *text, const struct value_context *context, struct error *error)
{
	static const struct {
		const char *name;
		enum config_cipher cipher;
	} ciphers[] = {
		{"auto", CONFIG_CIPHER_ANY},
		{"AES-256-GCM", CONFIG_CIPHER_AES_256_GCM},
		{"ChaCha20-Poly1305", CONFIG_CIPHER_CHACHA20_POLY1305},
	};
	(void)context;
	for (size_t i = 0; i < ARRAY_SIZE(ciphers); i++) {
		if (strcasecmp(text, ciphers[i].name) == 0) {
			*(enum config_cipher *)target = ciphers[i].cipher;
			return 0;
		}
	}
	return error_set(error, -EINVAL, "no such cipher; auto, AES-256-GCM or ChaCha20-Poly1305");
}

static int parse_backend(void *target, const char *text, const struct value_context *context, struct error *error)
{
	(void)context;
	const char *name = aead_backend_find(text, error);
	if (name == NULL)
		return -EINVAL;
	*(const char **)target = name;
	return 0;
}

static int parse_offloads(void *target, const char *text, const struct value_context *context, struct error *error)
{
	static const struct {
		const char *name;
		enum config_offload offload;
	} offloads[] = {
		{"tun-checksum", CONFIG_OFFLOAD_TUN_CHECKSUM}, {"tun-tso", CONFIG_OFFLOAD_TUN_TSO},
		{"tun-uso", CONFIG_OFFLOAD_TUN_USO},	       {"udp-gso", CONFIG_OFFLOAD_UDP_GSO},
		{"udp-gro", CONFIG_OFFLOAD_UDP_GRO},
	};
	(void)context;
	for (size_t i = 0; i < ARRAY_SIZE(offloads); i++) {
		if (strcasecmp(text, offloads[i].name) == 0) {
			*(uint32_t *)target |= offloads[i].offload;
			return 0;
		}
	}
	return error_set(error, -EINVAL, "no such offload; tun-checksum, tun-tso, tun-uso, udp-gso or udp-gro");
}

static int parse_log_level(void *target, const char *text, const struct value_context *context, struct error *error)
{
	(void)context;
	if (!log_level_parse(text, target))
		return error_set(error, -EINVAL, "no such level; error, warning, info or debug");
	return 0;
}

static int parse_cpu_priority(void *target, const char *text, const struct value_context *context, struct error *error)
{
	(void)context;
	if (!cpu_priority_parse(text, target))
		return error_set(error, -EINVAL, "no such priority; normal, high or realtime");
	return 0;
}

/* 32 bytes are 42 characters of 6 bits, one with 4 bits and two zero bits (one of these sixteen), and a '='. Taking
 * just this form makes equal keys equal texts. `source` is the command that prints such a key. */
static int check_key(const char *text, const char *source, struct error *error)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	static const char last[] = "AEIMQUYcgkosw048";
	if (strlen(text) != CONFIG_KEY_TEXT_SIZE - 1)
		return error_set(error, -EINVAL, "%zu characters are no key; a key has %d, ending in '='", strlen(text),
				 CONFIG_KEY_TEXT_SIZE - 1);
	if (strspn(text, alphabet) != 43 || strchr(last, text[42]) == NULL || text[43] != '=')
		return error_set(error, -EINVAL, "not the base64 of a key; copy the whole line that '%s' prints",
				 source);
	return 0;
}

static int parse_public_key(void *target, const char *text, const struct value_context *context, struct error *error)
{
	(void)context;
	int result = check_key(text, "shardtun pubkey", error);
	if (result == 0)
		memcpy(target, text, CONFIG_KEY_TEXT_SIZE);
	return result;
}

static int parse_secret_key(void *target, const char *text, const struct value_context *context, struct error *error)
{
	(void)context;
	int result = check_key(text, "shardtun genkey' or 'shardtun genpsk", error);
	if (result != 0)
		return result;
	*(char **)target = strdup(text);
	return *(char **)target != NULL ? 0 : no_memory(error);
}

static void free_secret_key(void *target)
{
	char **text = target;
	if (*text != NULL)
		explicit_bzero(*text, strlen(*text));
	free_text(target);
}

/* Splits "host:port" or "[v6]:port" in place of a copy; a bare IPv6 address is a trap of its own. */
static int parse_endpoint(void *target, const char *text, const struct value_context *context, struct error *error)
{
	(void)context;
	struct config_endpoint endpoint = {0};
	struct ip_address address;
	const char *host = text;
	const char *colon = strrchr(text, ':');
	if (ip_address_parse(text, &address) && address.family == 6)
		return error_set(error, -EINVAL, "an IPv6 address without port; write [address]:port");
	if (colon == NULL || colon == text)
		return error_set(error, -EINVAL,
				 "not host:port; for example vpn.example.net:5555 or [2001:db8::1]:5555");

	size_t length = (size_t)(colon - text);
	bool brackets = text[0] == '[' && text[length - 1] == ']';
	if (brackets) {
		host++;
		length -= 2;
	}
	if (length == 0 || length >= sizeof endpoint.host)
		return error_set(error, -EINVAL, "a host of %zu characters; 1 to %zu are right", length,
				 sizeof endpoint.host - 1);
	memcpy(endpoint.host, host, length);

	if (brackets && !(ip_address_parse(endpoint.host, &address) && address.family == 6))
		return error_set(error, -EINVAL,
				 "no IPv6 address between the brackets; for example [2001:db8::1]:5555");
	for (const char *c = endpoint.host; !brackets && *c != '\0'; c++) {
		if (*c == ':')
			return error_set(error, -EINVAL, "an IPv6 address without brackets; write [address]:port");
		if (!isalnum((unsigned char)*c) && strchr("-._", *c) == NULL)
			return error_set(error, -EINVAL, "'%c' is no part of a host name; write host:port", *c);
	}

	uint64_t port;
	if (!digits_parse(colon + 1, strlen(colon + 1), &port) || port < 1 || port > UINT16_MAX)
		return error_set(error, -EINVAL, "no port after the colon; a number from 1 to %d", UINT16_MAX);
	endpoint.port = (uint16_t)port;
	*(struct config_endpoint *)target = endpoint;
	return 0;
}

/* On the heap: few of many peers have one. */
static int parse_peer_endpoint(void *target, const char *text, const struct value_context *context, struct error *error)
{
	struct config_endpoint *endpoint = malloc(sizeof *endpoint);
	if (endpoint == NULL)
		return no_memory(error);
	int result = parse_endpoint(endpoint, text, context, error);
	if (result == 0)
		*(struct config_endpoint **)target = endpoint;
	else
		free(endpoint);
	return result;
}

static void free_peer_endpoint(void *target)
{
	struct config_endpoint **endpoint = target;
	free(*endpoint);
	*endpoint = NULL;
}

static int parse_protocol(void *target, const char *text, const struct value_context *context, struct error *error)
{
	(void)context;
	bool wireguard = strcasecmp(text, "wireguard") == 0;
	if (!wireguard && strcasecmp(text, "shardtun") != 0)
		return error_set(error, -EINVAL, "neither 'shardtun' nor 'wireguard'");
	*(enum config_protocol *)target = wireguard ? CONFIG_PROTOCOL_WIREGUARD : CONFIG_PROTOCOL_SHARDTUN;
	return 0;
}

/* "127.0.0.1:9586" or "[::1]:9586": an address, not a name, since it has to be ours. */
static bool address_port_parse(const char *text, struct config_listener *listener)
{
	const char *colon = strrchr(text, ':');
	size_t length = colon != NULL ? (size_t)(colon - text) : 0;
	bool brackets = length > 1 && text[0] == '[' && text[length - 1] == ']';
	char address[IP_TEXT_MAX] = "";
	uint64_t port;
	if (length == 0 || length >= sizeof address || !digits_parse(colon + 1, strlen(colon + 1), &port) || port < 1 ||
	    port > UINT16_MAX)
		return false;
	memcpy(address, text + brackets, length - 2 * brackets);
	listener->port = (uint16_t)port;
	return ip_address_parse(address, &listener->address) && (listener->address.family == 6) == brackets;
}

static int parse_listener(void *target, const char *text, const struct value_context *context, struct error *error)
{
	static const char scheme[] = "unix:";
	struct config_listener listener = {0};
	if (strncasecmp(text, scheme, strlen(scheme)) == 0 && text[strlen(scheme)] != '\0') {
		int result = parse_path(&listener.path, text + strlen(scheme), context, error);
		if (result != 0)
			return result;
	} else if (strcasecmp(text, "off") != 0 && !address_port_parse(text, &listener)) {
		return error_set(error, -EINVAL,
				 "neither 'off' nor a place to listen; for example 127.0.0.1:9586, [::1]:9586 or "
				 "unix:/run/shardtun/metrics.sock");
	}
	*(struct config_listener *)target = listener;
	return 0;
}

static void free_listener(void *target)
{
	struct config_listener *listener = target;
	free_text(&listener->path);
}

const struct value_type value_path = {.parse = parse_path, .free = free_text};
const struct value_type value_name = {.parse = parse_name, .free = free_text};
const struct value_type value_secret_key = {.secret = true, .parse = parse_secret_key, .free = free_secret_key};
const struct value_type value_interface = {.parse = parse_interface};
const struct value_type value_user = {.parse = parse_user};
const struct value_type value_number = {.parse = parse_number};
const struct value_type value_number_or_auto = {.parse = parse_number_or_auto};
const struct value_type value_count_or_auto = {.parse = parse_count_or_auto};
const struct value_type value_number_or_off = {.parse = parse_number_or_off};
const struct value_type value_table = {.parse = parse_table};
const struct value_type value_size = {.parse = parse_size};
const struct value_type value_size_or_auto = {.parse = parse_size_or_auto};
const struct value_type value_rate = {.parse = parse_rate};
const struct value_type value_quota = {.parse = parse_quota};
const struct value_type value_port = {.parse = parse_port};
const struct value_type value_yes_no = {.parse = parse_yes_no};
const struct value_type value_cipher = {.parse = parse_cipher};
const struct value_type value_backend = {.parse = parse_backend};
const struct value_type value_offloads = {.list = true, .parse = parse_offloads};
const struct value_type value_log_level = {.parse = parse_log_level};
const struct value_type value_cpu_priority = {.parse = parse_cpu_priority};
const struct value_type value_public_key = {.parse = parse_public_key};
const struct value_type value_endpoint = {.parse = parse_endpoint};
const struct value_type value_peer_endpoint = {.parse = parse_peer_endpoint, .free = free_peer_endpoint};
const struct value_type value_protocol = {.parse = parse_protocol};
const struct value_type value_listener = {.parse = parse_listener, .free = free_listener};
