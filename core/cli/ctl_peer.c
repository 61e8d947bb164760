// SPDX-License-Identifier: Apache-2.0
#include "core/cli/ctl_peer.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "config/value.h"
#include "core/cli/ctl.h"
#include "core/cli/ctl_addition.h"
#include "core/cli/ctl_cluster.h"
#include "core/cli/ctl_cluster_peer.h"
#include "core/cli/ctl_print.h"
#include "core/cli/ctl_text.h"
#include "core/cli/keytool.h"
#include "core/cli/peer_files.h"
#include "core/cli/qr.h"
#include "core/daemon/identity.h"
#include "core/host/ownership.h"

/* --- what the gateway's configuration says ------------------------------------------------------------------------ */

static int find_gateway_key(struct addition *addition, struct error *error)
{
	struct handshake_identity *identity = identity_load(&addition->config->common, error);
	if (identity == NULL)
		return -EINVAL;
	key_format(identity->keys.public_key, addition->gateway_key);
	struct noise_keypair *wireguard = NULL;
	int result = identity_load_wireguard(addition->config, identity, &wireguard, error);
	if (result == 0 && addition->wireguard && wireguard == NULL)
		result = error_set(error, -EINVAL,
				   "%s: --wireguard: the gateway has WireGuard = no; write yes, and start it again",
				   addition->target.config);
	if (result == 0 && addition->wireguard)
		key_format(wireguard->public_key, addition->gateway_key);
	secret_free(wireguard);
	secret_free(identity);
	return result;
}

/* The daemon's answer is not trusted: it is only compared with what the file says. */
static int check_same_gateway(struct addition *addition, struct error *error)
{
	json_t *identity = NULL;
	const char *key = addition->wireguard ? "wireguard_public_key" : "public_key";
	int result = ctl_request(&addition->target, "identity", &identity, error);
	if (result == 0 && strcmp(ctl_text(identity, key), addition->gateway_key) != 0)
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
	const char *configured = addition->config != NULL ? addition->config->peers_directory : NULL;
	if (configured == NULL)
		return error_set(error, -ENOENT,
				 "--save: the gateway has no directory for peers; give it PeersDirectory, and reload");
	char *directory = realpath(configured, NULL);
	if (directory == NULL)
		return error_set(error, -errno, "--save: %s: %s", configured, strerror(errno));
	char addresses[ADDITION_ADDRESSES_SIZE];
	addition_join_addresses(addition, false, addresses);
	struct peer_file peer = {.name = addition->name,
				 .public_key = addition->key,
				 .preshared_key = addition->is_new ? addition->preshared_key : NULL,
				 .preshared_key_file = ctl_value(options, CTL_PSK_FILE),
				 .address = addition->wireguard ? addresses : ctl_value(options, CTL_ADDRESS),
				 .allowed_ips = ctl_value(options, CTL_ALLOWED_IPS),
				 .protocol = addition->wireguard ? "wireguard" : NULL,
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
		{"--protocol", addition->wireguard ? "wireguard" : NULL},
		{"--rate-up", ctl_value(addition->options, CTL_RATE_UP)},
		{"--rate-down", ctl_value(addition->options, CTL_RATE_DOWN)},
		{"--burst", ctl_value(addition->options, CTL_BURST)},
		{"--quota", ctl_value(addition->options, CTL_QUOTA)},
		{"--quota-rate", ctl_value(addition->options, CTL_QUOTA_RATE)},
	};
	struct ctl_line *request = &addition->request;
	bool fits = addition->in_cluster ? ctl_line_add(request, "cluster-check")
					 : ctl_line_add(request, "peer") && ctl_line_add(request, "add");
	fits = fits && ctl_line_add(request, addition->key);
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
	if (addition->in_cluster ? ctl_cluster_delete(&addition->agent, addition->key, &result, &error) == 0
				 : ctl_request(&addition->target, request, &result, &error) == 0)
		json_decref(result);
	unsave(addition);
}

/* Adds the peer to the gateway, or to the cluster that it is in. */
static int submit(struct addition *addition, json_t **result, struct error *error)
{
	if (!addition->in_cluster)
		return ctl_request(&addition->target, addition->request.text, result, error);
	int code = ctl_cluster_add(addition, result, error);
	if (code == -EINPROGRESS && addition->is_new)
		remove_again(addition);
	return code;
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
		(addition->in_cluster ? ctl_cluster_print : ctl_print_peer)(stdout, result);
		return 0;
	}
	int code = addition->is_new ? print_client(addition, error) : 0;
	FILE *out = addition->is_new ? stderr : stdout; /* standard output has the client's file */
	if (code == 0 && addition->saved[0] != '\0')
		fprintf(out, "peer %s is added, and saved as %s\n", addition->key, addition->saved);
	else if (code == 0 && addition->in_cluster)
		ctl_cluster_print(out, result);
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

/* The same words go to another command. */
static int prepare_for_cluster(struct addition *addition, struct error *error)
{
	if (ctl_value(addition->options, CTL_SAVE) != NULL)
		return error_set(error, -EINVAL,
				 "this gateway is in a cluster, whose peers are in etcd: leave --save away");
	addition->request.length = 0;
	return make_request(addition)
		       ? 0
		       : error_set(error, -E2BIG, "all values together have more than %d bytes", CONTROL_REQUEST_MAX);
}

/* All that can fail without side effects, before anything is changed. */
static int prepare(struct addition *addition, struct error *error)
{
	const struct ctl_options *options = addition->options;
	int result = addition->name != NULL ? check_name(addition->name, error) : 0;
	if (result != 0)
		return result;
	result = ctl_find_target(options, &addition->target, error);
	if (result == 0)
		result = ctl_find_agent(options, &addition->agent, error);
	if (result == 0)
		result = ctl_cluster_find(&addition->target, &addition->in_cluster, error);
	if (result == 0 && addition->in_cluster)
		result = prepare_for_cluster(addition, error);
	if (result != 0)
		return result;
	if (addition->is_new || ctl_value(options, CTL_SAVE) != NULL)
		result = read_configuration(addition, error);
	return result == 0 && addition->is_new ? addition_make_file(addition, error) : result;
}

static bool is_of_pool(const struct addition *addition, const struct ip_address *address)
{
	const struct config_prefixes *own = &addition->config->addresses;
	for (size_t i = 0; i < own->count; i++) {
		if (ip_prefix_contains(&own->items[i], address))
			return !ip_address_equal(&own->items[i].address, address);
	}
	return false;
}

/* The answer is not trusted: what goes into files are addresses of the configured pool. */
static int take_addresses(struct addition *addition, const json_t *result, struct error *error)
{
	const json_t *addresses = json_object_get(result, "addresses");
	size_t count = json_array_size(addresses);
	bool right = count >= 1 && count <= ADDITION_FAMILIES;
	for (size_t i = 0; right && i < count; i++) {
		struct ip_address *address = &addition->addresses[i];
		right = ip_address_parse(ctl_text_of(json_array_get(addresses, i)), address) &&
			is_of_pool(addition, address);
	}
	addition->address_count = right ? count : 0;
	return right ? 0
		     : error_set(error, -EPROTO, "%s: the answer has no address of the pool", addition->target.path);
}

/* Its address stands in both files, so they are made when the gateway has reserved it. What cannot be kept or printed
 * is removed again. */
static int add_wireguard(struct addition *addition, struct error *error)
{
	json_t *result;
	int code = submit(addition, &result, error);
	if (code != 0)
		return code;
	if (addition->config != NULL)
		code = take_addresses(addition, result, error);
	if (code == 0 && addition->is_new)
		code = addition_make_file(addition, error);
	if (code == 0 && ctl_value(addition->options, CTL_SAVE) != NULL)
		code = save(addition, error);
	if (code == 0)
		code = print_added(addition, result, error);
	if (code != 0)
		remove_again(addition);
	json_decref(result);
	return code;
}

static int add(struct addition *addition, struct error *error)
{
	json_t *result;
	int code = ctl_value(addition->options, CTL_SAVE) != NULL ? save(addition, error) : 0;
	if (code != 0)
		return code;
	code = submit(addition, &result, error);
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
		result = addition->wireguard ? add_wireguard(addition, &error) : add(addition, &error);
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
	addition->wireguard = ctl_value(options, CTL_WIREGUARD) != NULL;
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
	struct ctl_target target, agent;
	struct ctl_line request = {.text = ""};
	json_t *result;
	for (size_t i = 0; i < ARRAY_SIZE(options->values); i++) {
		if (options->values[i] != NULL && CTL_FROM + i != CTL_AGENT)
			return cli_usage_error(program, "peer del takes no --%s", ctl_long_options[i].name);
	}
	if (!ctl_line_add(&request, "peer") || !ctl_line_add(&request, "del") || !ctl_line_add(&request, public_key))
		return ctl_refuse_words(program);
	int code = ctl_find_target(options, &target, &error);
	if (code == 0)
		code = ctl_find_agent(options, &agent, &error);
	bool in_cluster = false;
	if (code == 0)
		code = ctl_cluster_find(&target, &in_cluster, &error);
	if (code == 0)
		code = in_cluster ? ctl_cluster_delete(&agent, public_key, &result, &error)
				  : ctl_request(&target, request.text, &result, &error);
	if (code != 0)
		return cli_fail(program, CLI_FAILED, &error);
	if (options->json)
		ctl_print_json(stdout, result);
	else
		(in_cluster ? ctl_cluster_print : ctl_print_peer)(stdout, result);
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
