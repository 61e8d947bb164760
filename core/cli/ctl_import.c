// SPDX-License-Identifier: Apache-2.0
#include "core/cli/ctl_import.h"

#include <sodium.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/cli/import.h"
#include "core/cli/keytool.h"
#include "core/cli/peer_files.h"
#include "core/host/ownership.h"
#include "crypto/noise.h"

#define CONFIG_NAME	   "gateway.conf"
#define KEY_NAME	   "gateway.key"
#define WIREGUARD_KEY_NAME "wireguard.key"

enum {
	FILES = 3,
	KEY_MODE = 0600,
	CONFIG_MODE = 0640, /* there are pre-shared keys in it */
	LINE_SIZE = KEY_TEXT_SIZE + 1,
};

struct import {
	const struct cli_program *program;
	const char *directory; /* NULL: standard output */
	bool force;
	struct wireguard_server *file;
	bool right; /* it is */
	char *text; /* of the configuration */
	char written[FILES][PEER_PATH_MAX];
	bool replaced[FILES];
	size_t written_count;
};

/* --- checks ------------------------------------------------------------------------------------------------------- */

/* That the server is none of its own clients, and brings another key than the gateway has there. */
static int check_keys(const struct import *import, struct error *error)
{
	const struct gateway_config *config = &import->file->gateway;
	uint8_t key[KEY_SIZE], public_key[KEY_SIZE];
	char text[KEY_TEXT_SIZE];
	if (!key_parse(import->file->private_key, key))
		return error_set(error, -EINVAL, "%s: PrivateKey = (hidden): no base64 Curve25519 key", config->file);
	noise_public_key(key, public_key);
	sodium_memzero(key, sizeof key);
	key_format(public_key, text);
	for (size_t i = 0; i < config->peer_count; i++) {
		if (strcmp(config->peers[i].public_key, text) == 0)
			return error_set(error, -EINVAL,
					 "%s:%u: PublicKey = %s: the server's own; a client has another key",
					 config->file, config->peers[i].line, text);
	}
	return 0;
}

static int refuse_present(const struct import *import, const char *name, struct error *error)
{
	char path[PEER_PATH_MAX];
	if ((size_t)snprintf(path, sizeof path, "%s/%s", import->directory, name) >= sizeof path)
		return error_set(error, -ENAMETOOLONG, "%.200s/%s: the path is too long", import->directory, name);
	return import->force || access(path, F_OK) != 0
		       ? 0
		       : error_set(error, -EEXIST, "%s: is there already; --force replaces it", path);
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static int write_file(struct import *import, const char *name, const char *text, unsigned mode, bool replace,
		      struct error *error)
{
	const struct secret_file file = {.directory = import->directory,
					 .name = name,
					 .text = text,
					 .mode = mode,
					 .replace = replace,
					 .or_else = "--force replaces it"};
	int result = secret_file_save(&file, import->written[import->written_count], error);
	import->replaced[import->written_count] = replace;
	if (result == 0)
		import->written_count++;
	return result;
}

/* What did not replace anything is removed again. */
static void undo(struct import *import)
{
	while (import->written_count > 0) {
		import->written_count--;
		if (!import->replaced[import->written_count])
			(void)unlink(import->written[import->written_count]);
	}
}

/* A gateway that is there has clients that know its key: it is never replaced. */
static int write_own_key(struct import *import, struct error *error)
{
	char private_key[LINE_SIZE], public_key[KEY_TEXT_SIZE], preshared_key[KEY_TEXT_SIZE], path[PEER_PATH_MAX];
	uint8_t key[KEY_SIZE], brought[KEY_SIZE];
	(void)snprintf(path, sizeof path, "%s/%s", import->directory, KEY_NAME);
	if (access(path, F_OK) == 0) {
		int result = key_read_file(path, key, error);
		if (result == 0 && key_parse(import->file->private_key, brought) &&
		    sodium_memcmp(key, brought, KEY_SIZE) == 0)
			result = error_set(error, -EINVAL,
					   "%s: has the server's key, and a key is for one protocol; remove it", path);
		sodium_memzero(key, sizeof key);
		sodium_memzero(brought, sizeof brought);
		return result;
	}
	keytool_generate(private_key, public_key, preshared_key);
	memcpy(private_key + KEY_TEXT_SIZE - 1, "\n", 2);
	int result = write_file(import, KEY_NAME, private_key, KEY_MODE, false, error);
	sodium_memzero(private_key, sizeof private_key);
	sodium_memzero(preshared_key, sizeof preshared_key);
	return result;
}

static int write_wireguard_key(struct import *import, struct error *error)
{
	char line[LINE_SIZE];
	(void)snprintf(line, sizeof line, "%s\n", import->file->private_key);
	int result = write_file(import, WIREGUARD_KEY_NAME, line, KEY_MODE, import->force, error);
	sodium_memzero(line, sizeof line);
	return result;
}

static int write_directory(struct import *import, struct error *error)
{
	int result = ownership_check(import->directory, error);
	if (result == 0)
		result = refuse_present(import, CONFIG_NAME, error);
	if (result == 0)
		result = refuse_present(import, WIREGUARD_KEY_NAME, error);
	if (result == 0)
		result = write_own_key(import, error);
	if (result == 0)
		result = write_wireguard_key(import, error);
	if (result == 0)
		result = write_file(import, CONFIG_NAME, import->text, CONFIG_MODE, import->force, error);
	if (result != 0)
		undo(import);
	return result;
}

/* --- import ------------------------------------------------------------------------------------------------------- */

static void tell_left(void *context, const struct import_left *left)
{
	const struct import *import = context;
	char text[IMPORT_TEXT_MAX];
	fprintf(stderr, "%s: %s\n", import->program->name, import_left_text(left, text));
}

static void tell_written(const struct import *import)
{
	for (size_t i = 0; i < import->written_count; i++)
		printf("%s is written\n", import->written[i]);
	printf("%zu clients; 'shardtund -c %s/%s --check' checks it\n", import->file->gateway.peer_count,
	       import->directory, CONFIG_NAME);
}

static int run(struct import *import, const char *path, struct error *error)
{
	int result = config_load_wireguard(path, &import->file, error);
	if (result == 0)
		result = check_keys(import, error);
	import->right = result == 0;
	if (result != 0)
		return result;
	import->text = import_format(import->file, KEY_NAME, WIREGUARD_KEY_NAME, import->directory == NULL);
	if (import->text == NULL)
		return error_set(error, -ENOMEM, "%s: out of memory", path);
	result = import->directory != NULL ? write_directory(import, error) : keytool_print(import->text, error);
	if (result != 0)
		return result;
	import_each_left(import->file, tell_left, import);
	if (import->directory != NULL)
		tell_written(import);
	return 0;
}

enum cli_status ctl_import(const struct cli_program *program, const struct ctl_options *options, char *const *words,
			   int count)
{
	struct error error = {0};
	struct import import = {.program = program,
				.directory = ctl_value(options, CTL_OUTPUT),
				.force = ctl_value(options, CTL_FORCE) != NULL};
	(void)count;
	if (import.directory == NULL && import.force)
		return cli_usage_error(program, "--force is for --directory");
	if (keys_init(&error) != 0)
		return cli_fail(program, CLI_FAILED, &error);
	if (import.directory == NULL)
		keytool_warn_if_readable(program);
	int result = run(&import, words[0], &error);
	if (import.text != NULL)
		explicit_bzero(import.text, strlen(import.text));
	free(import.text);
	config_free_wireguard(import.file);
	if (result != 0)
		return cli_fail(program, import.right ? CLI_FAILED : CLI_CONFIG, &error);
	return cli_finish(program, CLI_OK);
}
