// SPDX-License-Identifier: Apache-2.0
/* Secrets are read and written by read(2) and write(2): stdio would leave copies in its buffers. */
#include "core/cli/keytool.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/keys.h"
#include "crypto/noise.h"

void keytool_warn_if_readable(const struct cli_program *program)
{
	struct stat status;
	if (fstat(STDOUT_FILENO, &status) == 0 && S_ISREG(status.st_mode) && (status.st_mode & S_IRWXO) != 0)
		fprintf(stderr, "%s: warning: the key goes to a file that others may read; use 'umask 077' before\n",
			program->name);
}

int keytool_print(const char *text, struct error *error)
{
	size_t size = strlen(text);
	for (size_t done = 0; done < size;) {
		ssize_t written = write(STDOUT_FILENO, text + done, size - done);
		if (written >= 0)
			done += (size_t)written;
		else if (errno != EINTR)
			return error_set(error, -errno, "standard output cannot be written (%s)", strerror(errno));
	}
	return 0;
}

static int print_key(const uint8_t key[KEY_SIZE], struct error *error)
{
	char text[KEY_TEXT_SIZE + 1] = "";
	key_format(key, text);
	text[KEY_TEXT_SIZE - 1] = '\n';
	int result = keytool_print(text, error);
	sodium_memzero(text, sizeof text);
	return result;
}

/* Clamped (RFC 7748, section 5), as wg genkey does, so that every tool prints the same text for the key. */
static void new_private_key(uint8_t key[KEY_SIZE])
{
	randombytes_buf(key, KEY_SIZE);
	key[0] &= 248;
	key[31] = (uint8_t)((key[31] & 127) | 64);
}

void keytool_generate(char private_key[KEY_TEXT_SIZE], char public_key[KEY_TEXT_SIZE],
		      char preshared_key[KEY_TEXT_SIZE])
{
	uint8_t key[KEY_SIZE], other[KEY_SIZE];
	new_private_key(key);
	key_format(key, private_key);
	noise_public_key(key, other);
	key_format(other, public_key);
	randombytes_buf(key, sizeof key);
	key_format(key, preshared_key);
	sodium_memzero(key, sizeof key);
}

static int genpsk(const struct cli_program *program, struct error *error)
{
	uint8_t key[KEY_SIZE];
	keytool_warn_if_readable(program);
	randombytes_buf(key, sizeof key);
	int result = print_key(key, error);
	sodium_memzero(key, sizeof key);
	return result;
}

static int genkey(const struct cli_program *program, struct error *error)
{
	uint8_t key[KEY_SIZE];
	keytool_warn_if_readable(program);
	new_private_key(key);
	int result = print_key(key, error);
	sodium_memzero(key, sizeof key);
	return result;
}

static int pubkey(const struct cli_program *program, struct error *error)
{
	(void)program;
	char text[128]; /* a key with some white space */
	size_t length = 0;
	ssize_t got;
	while (length < sizeof text &&
	       ((got = read(STDIN_FILENO, text + length, sizeof text - length)) > 0 || (got < 0 && errno == EINTR)))
		length += got > 0 ? (size_t)got : 0;

	uint8_t private_key[KEY_SIZE], public_key[KEY_SIZE];
	bool valid = length < sizeof text && memchr(text, '\0', length) == NULL;
	if (valid) {
		text[length] = '\0';
		valid = key_parse(text, private_key);
	}
	sodium_memzero(text, sizeof text);
	if (!valid)
		return error_set(error, -EINVAL,
				 "standard input: no private key; give it one line that genkey printed");
	noise_public_key(private_key, public_key);
	sodium_memzero(private_key, sizeof private_key);
	return print_key(public_key, error);
}

static const struct {
	const char *name;
	int (*run)(const struct cli_program *program, struct error *error);
} commands[] = {{"genkey", genkey}, {"genpsk", genpsk}, {"pubkey", pubkey}};

static size_t command_index(const char *name)
{
	size_t i = 0;
	while (i < ARRAY_SIZE(commands) && strcmp(commands[i].name, name) != 0)
		i++;
	return i;
}

bool keytool_knows(const char *command)
{
	return command_index(command) < ARRAY_SIZE(commands);
}

enum cli_status keytool_run(const struct cli_program *program, int argc, char *const *argv)
{
	if (argc != 1)
		return cli_usage_error(program, "%s takes no arguments", argv[0]);
	struct error error = {0};
	if (commands[command_index(argv[0])].run(program, &error) != 0)
		return cli_fail(program, CLI_FAILED, &error);
	return CLI_OK;
}
