// SPDX-License-Identifier: Apache-2.0
#include "core/cli/ctl_peer.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "config/value.h"
#include "core/cli/ctl.h"
#include "core/cli/ctl_print.h"
#include "core/cli/ctl_text.h"
#include "core/cli/keytool.h"
#include "core/cli/peer_files.h"
#include "core/cli/qr.h"
#include "core/daemon/identity.h"
#include "core/host/ownership.h"

#define EVERYTHING "0.0.0.0/0,::/0"
enum { ENDPOINT_SIZE = CONFIG_HOST_SIZE + 64 };

/* A peer to be added. In locked memory: it holds keys. */
struct addition {
	const struct ctl_options *options;
	struct ctl_target target;
	struct gateway_config *config; /* from the file; NULL: not needed */
	char gateway_key[KEY_TEXT_SIZE];
	const char *name; /* or NULL */
	bool is_new;	  /* --new */
	const char *key;  /* public; of a new peer: */
	char public_key[KEY_TEXT_SIZE], private_key[KEY_TEXT_SIZE], preshared_key[KEY_TEXT_SIZE];
	char peer_file[PEER_FILE_MAX], client_file[PEER_FILE_MAX];
	struct ctl_line request;
	char saved[PEER_PATH_MAX]; /* path of the file that --save wrote, or "" */
};

/* --- what the client's file says ---------------------------------------------------------------------------------- */

/* Completes HOST, HOST:PORT, or an IPv6 address with or without brackets to HOST:PORT, by the gateway's own port. */
static int complete_endpoint(const char *given, uint64_t port, char text[ENDPOINT_SIZE], struct error *error)
{
	static const struct value_context context = {0};
	struct config_endpoint endpoint;
	struct ip_address address;
	size_t size = ENDPOINT_SIZE, length = strlen(given);
	bool bare = ip_address_parse(given, &address) && address.family == 6;
	bool has_port = !bare && strchr(given, ':') != NULL && (length == 0 || given[length - 1] != ']');
	if (has_port)
		(void)snprintf(text, size, "%s", given);
	else
		(void)snprintf(text, size, bare ? "[%s]:%u" : "%s:%u", given, (unsigned)port);
	int result = value_endpoint.parse(&endpoint, text, &context, error);
	return result == 0 ? 0 : error_prefix(error, result, "--endpoint %s: ", given);
}

static int check_routes(const char *routes, struct error *error)
{
	char *copy = strdup(routes), *rest = copy;
	int result = copy != NULL ? 0 : error_set(error, -ENOMEM, "out of memory");
	for (char *item; result == 0 && (item = strsep(&rest, ",")) != NULL;) {
		struct ip_prefix prefix;
		if (!ip_prefix_parse(item, &prefix))
			result = error_set(
				error, -EINVAL,
				"--routes %.64s: no IP network; for example 10.8.0.0/16,192.168.7.0/24 or all", item);
	}
	free(copy);
	return result;
}

/* The gateway's own networks, separated by commas. */
static void own_networks(const struct config_prefixes *addresses, char *text, size_t size)
{
	char one[IP_TEXT_MAX];
	for (size_t i = 0, used = 0; i < addresses->count && used < size; i++) {
		struct ip_prefix network = ip_prefix_network(&addresses->items[i]);
		used += (size_t)snprintf(text + used, size - used, "%s%s", i != 0 ? "," : "",
					 ip_prefix_format(&network, one));
	}
}

/* The gateway's endpoint for clients, as HOST:PORT. */
static int find_endpoint(const struct addition *addition, char text[ENDPOINT_SIZE], struct error *error)
{
	const char *given = ctl_value(addition->options, CTL_ENDPOINT);
	const struct config_endpoint *public = &addition->config->public_endpoint;
	if (given != NULL)
		return complete_endpoint(given, addition->config->listen_port, text, error);
	if (public->port == 0)
		return error_set(error, -EINVAL,
				 "where do clients find this gateway? give --endpoint HOST, or PublicEndpoint in its "
				 "configuration");
	bool brackets = strchr(public->host, ':') != NULL;
	(void)snprintf(text, ENDPOINT_SIZE, brackets ? "[%s]:%u" : "%s:%u", public->host, public->port);
	return 0;
}

static int make_client_file(struct addition *addition, struct error *error)
{
	const char *routes = ctl_value(addition->options, CTL_ROUTES);
	char endpoint[ENDPOINT_SIZE], networks[4 * IP_TEXT_MAX] = "";
	int result = find_endpoint(addition, endpoint, error);
	if (result != 0)
		return result;
	own_networks(&addition->config->addresses, networks, sizeof networks);
	if (routes != NULL && strcmp(routes, "all") == 0)
		routes = EVERYTHING;
	result = routes != NULL ? check_routes(routes, error) : 0;
	if (result != 0)
		return result;
	struct client_file file = {.name = addition->name,
				   .private_key = addition->private_key,
				   .preshared_key = addition->preshared_key,
				   .gateway_public_key = addition->gateway_key,
				   .endpoint = endpoint,
				   .allowed_ips = routes != NULL ? routes : networks};
	return client_file_format(&file, addition->client_file, error);
}

/* --- what the gateway's configuration says ------------------------------------------------------------------------ */

static int find_gateway_key(struct addition *addition, struct error *error)
{
	struct handshake_identity *identity = identity_load(&addition->config->common, error);
	if (identity == NULL)
		return -EINVAL;
	key_format(identity->keys.public_key, addition->gateway_key);
	secret_free(identity);
	return 0;
}

/* The daemon's answer is not trusted: it is only compared with what the file says. */
static int check_same_gateway(struct addition *addition, struct error *error)
{
	json_t *identity = NULL;
	int result = ctl_request(&addition->target, "identity", &identity, error);
	if (result == 0 && strcmp(ctl_text(identity, "public_key"), addition->gateway_key) != 0)
		result = error_set(
			error, -EINVAL,
			"%s: the gateway at %s has another key than this configuration; give --config FILE, the "
			"one that it runs with",
			addition->target.config, addition->target.path);
	json_decref(identity);
	return result;
}

static int read_configuration(struct addition *addition, struct error *error)
{
	const char *path = addition->target.config;
	int result = ownership_check(path, error);
	if (result == 0)
		result = config_load_gateway(path, &addition->config, error);
	if (result == -ENOENT)
		result = error_prefix(error, result,
				      "give --config FILE, the configuration that the gateway runs with: ");
	if (result == 0)
		result = find_gateway_key(addition, error);
	return result == 0 ? check_same_gateway(addition, error) : result;
}

/* --- steps -------------------------------------------------------------------------------------------------------- */

static int save(struct addition *addition, struct error *error)
{
	const struct ctl_options *options = addition->options;
	if (addition->config->peers_directory == NULL)
		return error_set(error, -ENOENT,
				 "--save: the gateway has no directory for peers; give it PeersDirectory, and reload");
	char *directory = realpath(addition->config->peers_directory, NULL);
	if (directory == NULL)
		return error_set(error, -errno, "--save: %s: %s", addition->config->peers_directory, strerror(errno));
	struct peer_file peer = {.name = addition->name,
				 .public_key = addition->key,
				 .preshared_key = addition->is_new ? addition->preshared_key : NULL,
				 .preshared_key_file = ctl_value(options, CTL_PSK_FILE),
				 .address = ctl_value(options, CTL_ADDRESS),
				 .allowed_ips = ctl_value(options, CTL_ALLOWED_IPS),
				 .rate_up = ctl_value(options, CTL_RATE_UP),
				 .rate_down = ctl_value(options, CTL_RATE_DOWN),
				 .burst = ctl_value(options, CTL_BURST),
				 .quota = ctl_value(options, CTL_QUOTA),
				 .quota_rate = ctl_value(options, CTL_QUOTA_RATE)};
	int result = ownership_check(directory, error);
	if (result == 0)
		result = peer_file_format(&peer, addition->peer_file, error);
	if (result == 0)
		result = peer_file_save(directory, addition->name, addition->peer_file, addition->saved, error);
	free(directory);
	if (result != 0)
		addition->saved[0] = '\0';
	return result;
}

static void unsave(struct addition *addition)
{
	if (addition->saved[0] != '\0')
		(void)unlink(addition->saved);
	addition->saved[0] = '\0';
}

static bool make_request(struct addition *addition)
{
	const struct {
		const char *name, *value;
	} words[] = {
		{"--name", addition->name},
		{"--psk", addition->is_new ? addition->preshared_key : NULL},
		{"--psk-file", ctl_value(addition->options, CTL_PSK_FILE)},
		{"--address", ctl_value(addition->options, CTL_ADDRESS)},
		{"--allowed-ips", ctl_value(addition->options, CTL_ALLOWED_IPS)},
		{"--rate-up", ctl_value(addition->options, CTL_RATE_UP)},
		{"--rate-down", ctl_value(addition->options, CTL_RATE_DOWN)},
		{"--burst", ctl_value(addition->options, CTL_BURST)},
		{"--quota", ctl_value(addition->options, CTL_QUOTA)},
		{"--quota-rate", ctl_value(addition->options, CTL_QUOTA_RATE)},
	};
	struct ctl_line *request = &addition->request;
	bool fits = ctl_line_add(request, "peer") && ctl_line_add(request, "add") &&
		    ctl_line_add(request, addition->key);
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (words[i].value != NULL)
			fits = fits && ctl_line_add(request, words[i].name) && ctl_line_add(request, words[i].value);
	}
	return fits;
}

/* The keys could not be printed: a peer with keys that no client has is removed again. */
static void remove_again(struct addition *addition)
{
	char request[sizeof "peer del " + KEY_TEXT_SIZE];
	struct error error;
	json_t *result;
	(void)snprintf(request, sizeof request, "peer del %s", addition->key);
	if (ctl_request(&addition->target, request, &result, &error) == 0)
		json_decref(result);
	unsave(addition);
}

/* --- printing ----------------------------------------------------------------------------------------------------- */

static int print_json(struct addition *addition, json_t *result, struct error *error)
{
	if (addition->is_new)
		json_object_set_new(result, "configuration", json_string(addition->client_file));
	if (addition->saved[0] != '\0')
		json_object_set_new(result, "saved", json_string(addition->saved));
	bool printed = json_dumpf(result, stdout, JSON_INDENT(2)) == 0 && putchar('\n') != EOF && fflush(stdout) == 0;
	return printed ? 0 : error_set(error, -errno, "standard output cannot be written (%s)", strerror(errno));
}

/* The lines of the QR code are comments: the output is a valid client's file with and without them. */
static int print_client(const struct addition *addition, struct error *error)
{
	int result = keytool_print(addition->client_file, error);
	if (result != 0 || (ctl_value(addition->options, CTL_QR) == NULL && !isatty(STDOUT_FILENO)))
		return result;
	char *code = qr_format(addition->client_file, "# ", error);
	if (code == NULL)
		return -EINVAL;
	result = keytool_print(code, error);
	explicit_bzero(code, strlen(code));
	free(code);
	return result;
}

static int print_added(struct addition *addition, json_t *result, struct error *error)
{
	if (addition->options->json)
		return print_json(addition, result, error);
	if (!addition->is_new && addition->saved[0] == '\0') {
		ctl_print_peer(stdout, result);
		return 0;
	}
	int code = addition->is_new ? print_client(addition, error) : 0;
	FILE *out = addition->is_new ? stderr : stdout; /* standard output has the client's file */
	if (code == 0 && addition->saved[0] != '\0')
		fprintf(out, "peer %s is added, and saved as %s\n", addition->key, addition->saved);
	else if (code == 0)
		fprintf(out, "peer %s is added until the next reload; --save keeps it\n", addition->key);
	return code;
}

/* --- peer add ----------------------------------------------------------------------------------------------------- */

static int check_name(const char *name, struct error *error)
{
	static const struct value_context context = {.high = CONFIG_NAME_SIZE - 1};
	char *copy = NULL;
	int result = value_name.parse(&copy, name, &context, error);
	value_name.free(&copy);
	return result == 0 ? 0 : error_prefix(error, result, "%.64s: ", name);
}

/* All that can fail without side effects, before anything is changed. */
static int prepare(struct addition *addition, struct error *error)
{
	const struct ctl_options *options = addition->options;
	int result = addition->name != NULL ? check_name(addition->name, error) : 0;
	if (result != 0)
		return result;
	result = ctl_find_target(options, &addition->target, error);
	if (result != 0)
		return result;
	if (addition->is_new || ctl_value(options, CTL_SAVE) != NULL)
		result = read_configuration(addition, error);
	return result == 0 && addition->is_new ? make_client_file(addition, error) : result;
}

static int add(struct addition *addition, struct error *error)
{
	json_t *result;
	int code = ctl_value(addition->options, CTL_SAVE) != NULL ? save(addition, error) : 0;
	if (code != 0)
		return code;
	code = ctl_request(&addition->target, addition->request.text, &result, error);
	if (code != 0) {
		unsave(addition);
		return code;
	}
	code = json_is_object(result) ? print_added(addition, result, error)
				      : error_set(error, -EPROTO, "%s: the answer is from something else than shardtun",
						  addition->target.path);
	if (code != 0 && addition->is_new)
		remove_again(addition);
	json_decref(result);
	return code;
}

/* NULL: they can be combined. */
static const char *unfit_options(const struct ctl_options *options)
{
	bool is_new = ctl_value(options, CTL_NEW) != NULL;
	if (is_new && ctl_value(options, CTL_PSK_FILE) != NULL)
		return "--new makes a pre-shared key itself; leave --psk-file away";
	if (is_new && ctl_value(options, CTL_NAME) != NULL)
		return "--new gives the name; leave --name away";
	if (!is_new && ctl_value(options, CTL_ENDPOINT) != NULL)
		return "--endpoint is for the file that --new prints";
	if (!is_new && ctl_value(options, CTL_ROUTES) != NULL)
		return "--routes is for the file that --new prints";
	if (!is_new && ctl_value(options, CTL_QR) != NULL)
		return "--qr is for the file that --new prints";
	if (!is_new && ctl_value(options, CTL_SAVE) != NULL && ctl_value(options, CTL_NAME) == NULL)
		return "--save wants a --name: the file gets it";
	return NULL;
}

static enum cli_status run_add(const struct cli_program *program, struct addition *addition)
{
	struct error error = {0};
	(void)signal(SIGPIPE, SIG_IGN); /* a failed write has to remove the peer again */
	if (addition->is_new)
		keytool_warn_if_readable(program);
	if (addition->is_new)
		keytool_generate(addition->private_key, addition->public_key, addition->preshared_key);
	if (!make_request(addition))
		return ctl_refuse_words(program);
	int result = prepare(addition, &error);
	if (result == 0)
		result = add(addition, &error);
	return result == 0 ? cli_finish(program, CLI_OK) : cli_fail(program, CLI_FAILED, &error);
}

static enum cli_status peer_add(const struct cli_program *program, const struct ctl_options *options,
				const char *public_key)
{
	struct error error = {0};
	const char *unfit = unfit_options(options), *new_name = ctl_value(options, CTL_NEW);
	if (unfit != NULL)
		return cli_usage_error(program, "%s", unfit);
	if (keys_init(&error) != 0)
		return cli_fail(program, CLI_FAILED, &error);
	struct addition *addition = secret_new(sizeof *addition);
	if (addition == NULL) {
		error_set(&error, -ENOMEM, "out of memory");
		return cli_fail(program, CLI_FAILED, &error);
	}
	addition->options = options;
	addition->is_new = new_name != NULL;
	addition->name = new_name != NULL ? new_name : ctl_value(options, CTL_NAME);
	addition->key = new_name != NULL ? addition->public_key : public_key;
	enum cli_status status = run_add(program, addition);
	config_free_gateway(addition->config);
	secret_free(addition);
	return status;
}

/* --- peer del ----------------------------------------------------------------------------------------------------- */

static enum cli_status peer_delete(const struct cli_program *program, const struct ctl_options *options,
				   const char *public_key)
{
	struct error error;
	struct ctl_target target;
	struct ctl_line request = {.text = ""};
	json_t *result;
	for (size_t i = 0; i < ARRAY_SIZE(options->values); i++) {
		if (options->values[i] != NULL)
			return cli_usage_error(program, "peer del takes no --%s", ctl_long_options[i].name);
	}
	if (!ctl_line_add(&request, "peer") || !ctl_line_add(&request, "del") || !ctl_line_add(&request, public_key))
		return ctl_refuse_words(program);
	if (ctl_find_target(options, &target, &error) != 0 || ctl_request(&target, request.text, &result, &error) != 0)
		return cli_fail(program, CLI_FAILED, &error);
	if (options->json)
		ctl_print_json(stdout, result);
	else
		ctl_print_peer(stdout, result);
	json_decref(result);
	return cli_finish(program, CLI_OK);
}

enum cli_status ctl_peer(const struct cli_program *program, const struct ctl_options *options, char *const *words,
			 int count)
{
	const char *key = count > 1 ? words[1] : NULL;
	if (strcmp(words[0], "add") == 0)
		return peer_add(program, options, key);
	if (strcmp(words[0], "del") == 0 && key != NULL)
		return peer_delete(program, options, key);
	return cli_usage_error(program,
			       "peer wants add or del, and a public key; add may have --new NAME instead of the key");
}
