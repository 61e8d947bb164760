// SPDX-License-Identifier: Apache-2.0
/* MetricsListen: where the HTTP server listens. */
#include <string.h>

#include "tests/unit/config_files.h"

static struct gateway_config *listening(const char *value)
{
	char text[512];
	(void)snprintf(text, sizeof text, POOL "MetricsListen = %s\n", value);
	return load_gateway(text);
}

Test(config_listener, defaults)
{
	struct gateway_config *gateway = load_gateway(POOL);
	const struct config_listener *listener = &gateway->common.metrics_listen;
	char text[IP_TEXT_MAX];
	cr_expect_str_eq(ip_address_format(&listener->address, text), "127.0.0.1");
	cr_expect_eq(listener->port, 9586);
	cr_expect_null(listener->path);
	config_free_gateway(gateway);

	struct client_config *client = load_client(REMOTE CLIENT);
	cr_expect_eq(client->common.metrics_listen.port, 0);
	cr_expect_null(client->common.metrics_listen.path);
	config_free_client(client);
}

Test(config_listener, places)
{
	static const struct {
		const char *value, *address;
		uint16_t port;
	} places[] = {{"0.0.0.0:1", "0.0.0.0", 1},
		      {"[::1]:9586", "::1", 9586},
		      {"[fd00::7]:65535", "fd00::7", 65535},
		      {"192.0.2.1:80", "192.0.2.1", 80}};
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		char text[IP_TEXT_MAX];
		struct gateway_config *config = listening(places[i].value);
		const struct config_listener *listener = &config->common.metrics_listen;
		cr_expect_str_eq(ip_address_format(&listener->address, text), places[i].address);
		cr_expect_eq(listener->port, places[i].port);
		cr_expect_null(listener->path);
		config_free_gateway(config);
	}
	struct gateway_config *config = listening("Off");
	cr_expect_eq(config->common.metrics_listen.port, 0);
	config_free_gateway(config);
}

Test(config_listener, paths)
{
	struct gateway_config *config = listening("unix:/run/shardtun/metrics.sock");
	cr_expect_str_eq(config->common.metrics_listen.path, "/run/shardtun/metrics.sock");
	cr_expect_eq(config->common.metrics_listen.port, 0);
	config_free_gateway(config);
	config = listening("unix:metrics.sock");
	const char *path = config->common.metrics_listen.path;
	cr_expect_eq(path[0], '/', "relative to the file");
	cr_expect_not_null(strstr(path, "/metrics.sock"));
	config_free_gateway(config);
}

Test(config_listener, refused)
{
	static const char *const values[] = {
		"9586",		  "127.0.0.1", "127.0.0.1:",	   "127.0.0.1:0", "127.0.0.1:65536",
		"localhost:9586", "::1:9586",  "[127.0.0.1]:9586", "[::1]",	  "[]:9586",
		":9586",	  "unix:",     "/run/a.sock",	   "on",	  "127.0.0.1:9586x"};
	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		char text[256], expected[256];
		(void)snprintf(text, sizeof text, POOL "MetricsListen = %s\n", values[i]);
		(void)snprintf(expected, sizeof expected, ":4: MetricsListen = %s: neither 'off' nor a place to listen",
			       values[i]);
		refused(true, text, strlen(text), expected);
	}
	char path[160] = "unix:/", text[256];
	memset(path + 6, 'a', 120);
	(void)snprintf(text, sizeof text, POOL "MetricsListen = %s\n", path);
	refused(true, text, strlen(text), ":4: MetricsListen = unix:/aaa");
}
