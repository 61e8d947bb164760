// SPDX-License-Identifier: Apache-2.0
/* Configuration files of tests: their usual starts, and what loads a text as if it were a file. */
#pragma once

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "config/config.h"

#define KEY_A	"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
#define KEY_B	"BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA="
#define GATEWAY "[Gateway]\nPrivateKeyFile = gw.key\n"	  /* lines 1 and 2 */
#define CLIENT	"[Client]\nPrivateKeyFile = client.key\n" /* lines 1 and 2 */
#define REMOTE	"[Gateway]\nPublicKey = " KEY_A "\nEndpoint = vpn.example.net:5555\nAllowedIPs = 0.0.0.0/0, ::/0\n"
#define POOL	GATEWAY "Address = 10.8.0.1/16, fd00:8::1/64\n" /* lines 1 to 3 */
#define PEER(k) "[Peer]\nPublicKey = " k "\n"

struct file {
	char directory[32];
	char path[48];
};

static inline struct file file_new(const void *text, size_t size)
{
	struct file file = {.directory = "/tmp/test_config.XXXXXX"};
	cr_assert_not_null(mkdtemp(file.directory));
	snprintf(file.path, sizeof file.path, "%s/f", file.directory);
	FILE *out = fopen(file.path, "w");
	cr_assert_not_null(out);
	cr_assert_eq(fwrite(text, 1, size, out), size);
	fclose(out);
	return file;
}

static inline void file_free(struct file *file)
{
	unlink(file->path);
	rmdir(file->directory);
}

static inline struct gateway_config *load_gateway(const char *text)
{
	struct gateway_config *config;
	struct error error = {0};
	struct file file = file_new(text, strlen(text));
	cr_assert_eq(config_load_gateway(file.path, &config, &error), 0, "%s", error.text);
	cr_assert_not_null(config);
	file_free(&file);
	return config;
}

static inline struct client_config *load_client(const char *text)
{
	struct client_config *config;
	struct error error = {0};
	struct file file = file_new(text, strlen(text));
	cr_assert_eq(config_load_client(file.path, &config, &error), 0, "%s", error.text);
	cr_assert_not_null(config);
	file_free(&file);
	return config;
}

/* The file is refused with a text that starts, after the path, with `expected`. */
static inline void refused(bool gateway, const void *text, size_t size, const char *expected)
{
	struct gateway_config *gateway_config;
	struct client_config *client_config;
	struct error error = {0};
	struct file file = file_new(text, size);
	int result = gateway ? config_load_gateway(file.path, &gateway_config, &error)
			     : config_load_client(file.path, &client_config, &error);
	cr_assert_eq(result, -EINVAL, "%.*s was taken", (int)size, (const char *)text);
	cr_assert_null(gateway ? (void *)gateway_config : (void *)client_config);
	cr_assert_eq(strncmp(error.text, file.path, strlen(file.path)), 0, "%s", error.text);
	const char *rest = error.text + strlen(file.path);
	cr_expect_eq(strncmp(rest, expected, strlen(expected)), 0, "wanted \"%s\"\n   got \"%s\"", expected, rest);
	cr_expect_null(strchr(error.text, '\n'), "more than one line");
	file_free(&file);
}

struct refusal {
	const char *text;
	const char *expected;
};

static inline void all_refused(bool gateway, const struct refusal *refusals, size_t count)
{
	for (size_t i = 0; i < count; i++)
		refused(gateway, refusals[i].text, strlen(refusals[i].text), refusals[i].expected);
}
