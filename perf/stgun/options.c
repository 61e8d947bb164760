// SPDX-License-Identifier: Apache-2.0
#include "perf/stgun/options.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "core/protocol/wire.h"
#include "perf/stgun/packet.h"

const char *const stgun_direction_names[] = {"up", "down", "both"};

static const struct row {
	const char *name;
	unsigned commands;
	const char *standard, *form, *help;
} rows[STGUN_OPTION_COUNT] = {
#define X(id, name, commands, standard, form, help) [STGUN_##id] = {name, commands, standard, form, help},
	STGUN_OPTIONS(X)
#undef X
};

static const struct {
	const char *name;
	enum stgun_command command;
} commands[] = {
	{"keys", STGUN_KEYS}, {"reflect", STGUN_REFLECT}, {"connect", STGUN_CONNECT},
	{"load", STGUN_LOAD}, {"search", STGUN_SEARCH},
};

static const char *command_name(enum stgun_command command)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (commands[i].command == command)
			return commands[i].name;
	}
	return "";
}

static void print_heading(FILE *out, unsigned mask)
{
	const char *before = "\nOf ";
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if ((mask & commands[i].command) == 0)
			continue;
		fprintf(out, "%s%s", before, commands[i].name);
		before = ", ";
	}
	fprintf(out, ":\n");
}

void stgun_options_print(FILE *out)
{
	for (size_t i = 0; i < STGUN_OPTION_COUNT; i++) {
		const struct row *row = &rows[i];
		char text[64];
		if (i == 0 || row->commands != rows[i - 1].commands)
			print_heading(out, row->commands);
		(void)snprintf(text, sizeof text, "--%s%s%s", row->name, row->form != NULL ? " " : "",
			       row->form != NULL ? row->form : "");
		fprintf(out, "  %-33s %s%s%s%s\n", text, row->help, row->standard != NULL ? " (default: " : "",
			row->standard != NULL ? row->standard : "", row->standard != NULL ? ")" : "");
	}
}

/* --- values ------------------------------------------------------------------------------------------------------- */

static int parse_number(const char *text, uint32_t least, uint32_t most, uint32_t *number, struct error *error)
{
	char *end;
	errno = 0;
	unsigned long value = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || value < least || value > most)
		return error_set(error, -EINVAL, "\"%s\": a number from %u to %u is wanted", text, least, most);
	*number = (uint32_t)value;
	return 0;
}

static int parse_seconds(const char *text, uint64_t *ns, struct error *error)
{
	char *end;
	double value = strtod(text, &end);
	if (*text < '0' || *text > '9' || *end != '\0' || !(value >= 0.1 && value <= STGUN_SECONDS_MAX))
		return error_set(error, -EINVAL, "\"%s\": seconds from 0.1 to %d are wanted", text, STGUN_SECONDS_MAX);
	*ns = (uint64_t)(value * NS_PER_S);
	return 0;
}

/* "IP", "IP:PORT", "[IP]:PORT". */
static int parse_place(const char *text, struct ip_address *address, uint16_t *port, struct error *error)
{
	char host[IP_TEXT_MAX];
	uint32_t number = *port;
	const char *start = text, *end, *colon;
	if (*text == '[') {
		start++;
		end = strchr(start, ']');
		colon = end != NULL && end[1] == ':' ? end + 1 : NULL;
	} else {
		colon = strchr(text, ':') == strrchr(text, ':') ? strchr(text, ':') : NULL;
		end = colon != NULL ? colon : text + strlen(text);
	}
	bool fits = end != NULL && (size_t)(end - start) < sizeof host;
	if (fits) {
		memcpy(host, start, (size_t)(end - start));
		host[end - start] = '\0';
	}
	if (!fits || !ip_address_parse(host, address) || (*text == '[' && colon == NULL && end[1] != '\0') ||
	    (colon != NULL && parse_number(colon + 1, 1, UINT16_MAX, &number, NULL) != 0))
		return error_set(error, -EINVAL, "\"%s\": an IP address and a port are wanted, 192.0.2.1:5555", text);
	*port = (uint16_t)number;
	return 0;
}

static int parse_gateway(const char *text, struct sockaddr_in6 *gateway, struct error *error)
{
	struct ip_address address;
	uint16_t port = 0;
	int result = parse_place(text, &address, &port, error);
	if (result != 0)
		return result;
	if (port == 0)
		return error_set(error, -EINVAL, "\"%s\": the port is missing", text);
	*gateway = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(port)};
	uint8_t *bytes = gateway->sin6_addr.s6_addr;
	if (address.family == 4)
		memset(bytes + 10, 0xff, 2);
	memcpy(address.family == 4 ? bytes + 12 : bytes, address.bytes, address.family == 4 ? 4 : 16);
	return 0;
}

static int parse_choice(const char *text, const char *const *names, unsigned count, unsigned *choice,
			struct error *error)
{
	for (unsigned i = 0; i < count; i++) {
		if (strcmp(text, names[i]) == 0) {
			*choice = i;
			return 0;
		}
	}
	return error_set(error, -EINVAL, "\"%s\": is none of those that --help names", text);
}

static int parse_gso(const char *text, uint32_t *train, struct error *error)
{
	*train = strcmp(text, "off") == 0 ? 1 : STGUN_TRAIN_MAX;
	if (strcmp(text, "off") == 0 || strcmp(text, "max") == 0)
		return 0;
	return parse_number(text, 1, STGUN_TRAIN_MAX, train, error);
}

static int parse_loss(const char *text, double *loss, struct error *error)
{
	char *end;
	*loss = strtod(text, &end) / 100;
	if (*text < '0' || *text > '9' || *end != '\0' || !(*loss <= 0.5))
		return error_set(error, -EINVAL, "\"%s\": percent from 0 to 50 are wanted", text);
	return 0;
}

static int parse_pair(enum stgun_option option, const char *text, struct stgun_options *o, struct error *error)
{
	static const char *const suites[] = {"auto", "AES-256-GCM", "ChaCha20-Poly1305"}; /* by wire number */
	static const char *const switches[] = {"off", "on"};
	static const char *const orders[] = {"turn", "random"};
	static const char *const words[] = {"keepalive", "data"};
	static const char *const protocols[] = {"shardtun", "wireguard"};
	unsigned choice = 0;
	uint32_t number = 0;
	int result = 0;
	switch (option) {
	case STGUN_CIPHER:
		result = parse_choice(text, suites, ARRAY_SIZE(suites), &choice, error);
		o->suite = (uint8_t)choice;
		return result;
	case STGUN_PROTOCOL:
		result = parse_choice(text, protocols, ARRAY_SIZE(protocols), &choice, error);
		o->wireguard = choice != 0;
		return result;
	case STGUN_DIRECTION:
		result = parse_choice(text, stgun_direction_names, 3, &choice, error);
		o->direction = (enum stgun_direction)choice;
		return result;
	case STGUN_GRO:
		result = parse_choice(text, switches, ARRAY_SIZE(switches), &choice, error);
		o->gro = choice != 0;
		return result;
	case STGUN_ORDER:
		result = parse_choice(text, orders, ARRAY_SIZE(orders), &choice, error);
		o->random = choice != 0;
		return result;
	case STGUN_SAY:
		result = parse_choice(text, words, ARRAY_SIZE(words), &choice, error);
		o->say_data = choice != 0;
		return result;
	case STGUN_MTU:
		result = parse_number(text, WIRE_MTU_MIN, PACKET_SIZE_MAX, &number, error);
		o->mtu = (uint16_t)number;
		return result;
	case STGUN_SOURCE:
		if (!ip_prefix_parse(text, &o->source))
			return error_set(error, -EINVAL, "\"%s\": a network like 10.64.0.0/16 is wanted", text);
		o->source = ip_prefix_network(&o->source);
		return 0;
	case STGUN_ADDRESS:
		if (!ip_address_parse(text, &o->address))
			return error_set(error, -EINVAL, "\"%s\": an IP address is wanted", text);
		return 0;
	case STGUN_GATEWAY_KEY:
		if (!key_parse(text, o->gateway_key))
			return error_set(error, -EINVAL, "\"%s\": that is no key; shardtun pubkey prints one", text);
		return 0;
	default:
		return 0;
	}
}

static int parse_value(enum stgun_option option, const char *text, struct stgun_options *o, struct error *error)
{
	switch (option) {
	case STGUN_GATEWAY:
		return parse_gateway(text, &o->gateway, error);
	case STGUN_SEED:
		seed_init(&o->seed, text);
		return 0;
	case STGUN_FIRST:
		return parse_number(text, 0, UINT32_MAX - STGUN_SESSIONS_MAX, &o->first, error);
	case STGUN_SESSIONS:
		return parse_number(text, 1, STGUN_SESSIONS_MAX, &o->sessions, error);
	case STGUN_THREADS:
		return parse_number(text, 1, STGUN_THREADS_MAX, &o->threads, error);
	case STGUN_PORTS:
		return parse_number(text, 1, STGUN_PORTS_MAX, &o->ports, error);
	case STGUN_PARALLEL:
		return parse_number(text, 1, STGUN_SESSIONS_MAX, &o->parallel, error);
	case STGUN_CONNECT_RATE:
		return rate_parse(text, &o->connect_rate, error);
	case STGUN_CONNECT_LIMIT:
		return parse_number(text, 1, STGUN_SECONDS_MAX, &o->connect_timeout, error);
	case STGUN_ROUNDS:
		return parse_number(text, 1, 1000, &o->rounds, error);
	case STGUN_TO:
		return parse_place(text, &o->to, &o->to_port, error);
	case STGUN_RATE:
		return rate_parse(text, &o->rate, error);
	case STGUN_SIZE:
		return mix_parse(text, &o->mix, error);
	case STGUN_GSO:
		return parse_gso(text, &o->train, error);
	case STGUN_DURATION:
		return parse_seconds(text, &o->duration, error);
	case STGUN_HOLD_FOR:
		return parse_seconds(text, &o->hold, error);
	case STGUN_EVERY:
		return parse_seconds(text, &o->every, error);
	case STGUN_RENEW:
		return parse_seconds(text, &o->renew, error);
	case STGUN_LOSS:
		return parse_loss(text, &o->loss, error);
	case STGUN_LISTEN:
		return parse_place(text, &o->listen, &o->listen_port, error);
	case STGUN_PSK_FILE:
		o->psk_file = text;
		return 0;
	case STGUN_BLIND:
		o->blind = true;
		return 0;
	case STGUN_JSON:
		o->json = text;
		return 0;
	default:
		return parse_pair(option, text, o, error);
	}
}

/* --- the command line --------------------------------------------------------------------------------------------- */

static int read_words(int argc, char **argv, const char *values[STGUN_OPTION_COUNT], struct error *error)
{
	struct option longs[STGUN_OPTION_COUNT + 1] = {0};
	for (int i = 0; i < STGUN_OPTION_COUNT; i++)
		longs[i] = (struct option){rows[i].name, rows[i].form != NULL ? required_argument : no_argument, NULL,
					   256 + i};
	int option;
	opterr = 0;
	optind = 0; /* all over again, in tests too */
	while ((option = getopt_long(argc, argv, ":", longs, NULL)) != -1) {
		if (option >= 256)
			values[option - 256] = optarg != NULL ? optarg : "";
		else if (option == ':')
			return error_set(error, -EINVAL, "%s needs a value", argv[optind - 1]);
		else
			return error_set(error, -EINVAL, "%s is no option", argv[optind - 1]);
	}
	return 0;
}

static int find_command(int argc, char **argv, struct stgun_options *options, struct error *error)
{
	if (optind >= argc)
		return error_set(error, -EINVAL, "which command? keys, reflect, connect, load or search");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(argv[optind], commands[i].name) == 0)
			options->command = commands[i].command;
	}
	if (options->command == 0)
		return error_set(error, -EINVAL, "unknown command \"%s\"", argv[optind]);
	optind++;
	if (options->command == STGUN_KEYS) {
		if (optind >= argc)
			return error_set(error, -EINVAL, "keys wants a number of clients");
		int result = parse_number(argv[optind++], 1, STGUN_SESSIONS_MAX, &options->sessions, error);
		if (result != 0)
			return error_prefix(error, result, "keys ");
	}
	return optind < argc ? error_set(error, -EINVAL, "\"%s\" is too much", argv[optind]) : 0;
}

/* What a WELCOME says of the own protocol, WireGuard has no message for. */
static int check_protocol(const struct stgun_options *o, struct error *error)
{
	if (!o->wireguard)
		return o->address.family != 0 ? error_set(error, -EINVAL, "--address is for --protocol wireguard") : 0;
	if (o->address.family == 0)
		return error_set(error, -EINVAL, "--protocol wireguard wants the clients' --address");
	if (o->command == STGUN_KEYS)
		return 0;
	if (o->suite != 0)
		return error_set(error, -EINVAL, "--cipher: WireGuard has one");
	if ((o->command & STGUN_SEND) != 0 && o->to.family != o->address.family)
		return error_set(error, -EINVAL,
				 "--protocol wireguard wants an address to send to, --to, of --address's family");
	return 0;
}

static int check(const struct stgun_options *o, struct error *error)
{
	int result = (o->command & (STGUN_GENERATE | STGUN_KEYS)) != 0 ? check_protocol(o, error) : 0;
	if (result != 0 || (o->command & STGUN_GENERATE) == 0)
		return result;
	if (o->sessions < o->threads)
		return error_set(error, -EINVAL, "%u threads share %u session%s: give as many at least", o->threads,
				 o->sessions, o->sessions == 1 ? "" : "s");
	if (o->connect_rate.bits)
		return error_set(error, -EINVAL, "--connect-rate: handshakes have no bits");
	bool v4 = IN6_IS_ADDR_V4MAPPED(&o->gateway.sin6_addr);
	if (o->source.address.family != 0 && v4 != (o->source.address.family == 4))
		return error_set(error, -EINVAL, "--source and --gateway are of different families");
	if ((o->command & STGUN_SEND) == 0)
		return 0;
	if (o->blind && o->direction != STGUN_UP)
		return error_set(error, -EINVAL, "--blind: what comes back is seen; it is for --direction up");
	if (o->command == STGUN_SEARCH && o->rate.per_second == 0)
		return error_set(error, -EINVAL, "search wants the --rate to begin with");
	if (o->mix.most > o->mtu)
		return error_set(error, -EINVAL, "--size %u is more than --mtu %u", o->mix.most, o->mtu);
	return 0;
}

static int read_all(const char *const values[STGUN_OPTION_COUNT], struct stgun_options *options, struct error *error)
{
	for (int i = 0; i < STGUN_OPTION_COUNT; i++) {
		bool taken = (rows[i].commands & options->command) != 0;
		if (values[i] != NULL && !taken)
			return error_set(error, -EINVAL, "%s takes no --%s", command_name(options->command),
					 rows[i].name);
		const char *text = values[i] != NULL ? values[i] : rows[i].standard;
		if ((i == STGUN_GATEWAY || i == STGUN_GATEWAY_KEY) && taken && text == NULL)
			return error_set(error, -EINVAL, "--%s is missing", rows[i].name);
		int result = text != NULL && taken ? parse_value((enum stgun_option)i, text, options, error) : 0;
		if (result != 0)
			return error_prefix(error, result, "--%s ", rows[i].name);
	}
	return check(options, error);
}

int stgun_options_read(int argc, char **argv, struct stgun_options *options, struct error *error)
{
	const char *values[STGUN_OPTION_COUNT] = {NULL};
	*options = (struct stgun_options){.to_port = PACKET_PORT, .listen_port = PACKET_PORT};
	/* getopt puts the words into another order. */
	char **words = calloc((size_t)argc + 1, sizeof *words);
	if (words == NULL)
		return error_set(error, -ENOMEM, "no memory");
	memcpy(words, argv, (size_t)argc * sizeof *words);
	int result = read_words(argc, words, values, error);
	if (result == 0)
		result = find_command(argc, words, options, error);
	if (result == 0)
		result = read_all(values, options, error);
	free(words);
	return result;
}

int stgun_options_read_key(struct stgun_options *options, struct error *error)
{
	if (options->psk_file == NULL || (options->command & STGUN_GENERATE) == 0)
		return 0;
	return key_read_file(options->psk_file, options->preshared_key, error);
}
