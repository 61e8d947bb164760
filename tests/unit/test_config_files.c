// SPDX-License-Identifier: Apache-2.0
/* Peers in other files than the gateway's own, and secrets in files. */
#include <criterion/criterion.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/unit/config_files.h"

#define PEERS_FILE	POOL "PeersFile = many\n"
#define PEERS_DIRECTORY POOL "PeersDirectory = some.d\n"

/* A directory with the gateway's file in it, and others. */
static char directory[] = "/tmp/test_config_files.XXXXXX";

static const char *in_directory(const char *name)
{
	static char path[128];
	snprintf(path, sizeof path, "%s/%s", directory, name);
	return path;
}

static void write_file(const char *name, const char *text)
{
	FILE *out = fopen(in_directory(name), "w");
	cr_assert_not_null(out);
	fputs(text, out);
	fclose(out);
	cr_assert_eq(chmod(in_directory(name), 0600), 0);
}

static void make_directory(void)
{
	cr_assert_not_null(mkdtemp(directory));
	cr_assert_eq(mkdir(in_directory("some.d"), 0700), 0);
}

static void remove_directory(void)
{
	char command[128];
	snprintf(command, sizeof command, "rm -r '%s'", directory);
	cr_expect_eq(system(command), 0);
}

static struct gateway_config *load(const char *text)
{
	struct gateway_config *config;
	struct error error = {0};
	write_file("f", text);
	cr_assert_eq(config_load_gateway(in_directory("f"), &config, &error), 0, "%s", error.text);
	return config;
}

/* With DIR for the directory in `expected`. */
static void load_refused(const char *text, const char *expected)
{
	struct gateway_config *config;
	struct error error = {0};
	char wanted[512] = "";
	write_file("f", text);
	cr_expect_lt(config_load_gateway(in_directory("f"), &config, &error), 0, "%s", text);
	for (const char *c = expected; *c != '\0';) {
		bool variable = strncmp(c, "DIR", 3) == 0;
		snprintf(wanted + strlen(wanted), sizeof wanted - strlen(wanted), "%.*s", variable ? 40 : 1,
			 variable ? directory : c);
		c += variable ? 3 : 1;
	}
	cr_expect_eq(strncmp(error.text, wanted, strlen(wanted)), 0, "wanted \"%s\"\n   got \"%s\"", wanted,
		     error.text);
}

#define KEY_C "CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCA="
#define KEY_D "DDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDA="

Test(config_files, peers_stand_in_order, .init = make_directory, .fini = remove_directory)
{
	write_file("many", PEER(KEY_B) "PresharedKeyFile = b.psk\n");
	write_file("some.d/b.conf", "# none\n");
	write_file("some.d/a10.conf", PEER(KEY_D));
	write_file("some.d/A.conf", PEER(KEY_C) "Name = c\nPresharedKeyFile = c.psk\n");
	write_file("some.d/.hidden.conf", "nonsense");
	write_file("some.d/a.conf~", "nonsense");
	write_file("some.d/.conf", "nonsense");
	struct gateway_config *config = load(PEERS_FILE "PeersDirectory = some.d\n" PEER(KEY_A));
	static const char *const keys[] = {KEY_A, KEY_B, KEY_C, KEY_D};
	static const char *const files[] = {"f", "many", "some.d/A.conf", "some.d/a10.conf"};
	cr_assert_eq(config->peer_count, ARRAY_SIZE(keys));
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		cr_expect_str_eq(config->peers[i].public_key, keys[i]);
		cr_expect_str_eq(config->peers[i].file, in_directory(files[i]));
	}
	cr_expect_str_eq(config->peers[2].name, "c");
	cr_expect_null(config->peers[3].name);
	/* Relative to the file that says so. */
	cr_expect_str_eq(config->peers[1].preshared_key_file, in_directory("b.psk"));
	cr_expect_str_eq(config->peers[2].preshared_key_file, in_directory("some.d/c.psk"));
	config_forget_keys(config);
	cr_expect_eq(config->peer_count, 0);
	config_free_gateway(config);
}

Test(config_files, messages_name_the_file, .init = make_directory, .fini = remove_directory)
{
	load_refused(PEERS_FILE, "DIR/f:4: PeersFile = DIR/many: cannot be opened (No such file or directory)");
	load_refused(POOL "PeersDirectory = none.d\n",
		     "DIR/f:4: PeersDirectory = DIR/none.d: cannot be opened (No such file or directory)");
	load_refused(POOL "PeersDirectory = f\n",
		     "DIR/f:4: PeersDirectory = DIR/f: cannot be opened (Not a directory)");
	write_file("many", "\n[Gateway]\n");
	load_refused(PEERS_FILE, "DIR/many:2: [Gateway]: unknown section; this file has [Peer]");
	write_file("many", PEER(KEY_B) "Address = 10.9.0.1\n");
	load_refused(PEERS_FILE, "DIR/many:3: Address = 10.9.0.1: outside the pool");
	write_file("many", PEER(KEY_B) "AllowedIPs = 10.8.1.0/24\n");
	load_refused(PEERS_FILE, "DIR/many:3: AllowedIPs = 10.8.1.0/24: overlaps the pool, 10.8.0.1/16 on DIR/f:3");
	write_file("some.d/x.conf", "[Peer]\nNonsense = 5\n");
	load_refused(PEERS_DIRECTORY, "DIR/some.d/x.conf:2: Nonsense = 5: unknown key in [Peer]");
	write_file("some.d/x.conf", "\n\n[Peer]\n");
	load_refused(PEERS_DIRECTORY, "DIR/some.d/x.conf:3: [Peer]: PublicKey is missing");
}

Test(config_files, duplicates_name_both_places, .init = make_directory, .fini = remove_directory)
{
	write_file("many", PEER(KEY_B) "Address = 10.8.0.7\nAllowedIPs = 192.168.7.0/24\n");
	load_refused(PEERS_FILE PEER(KEY_B),
		     "DIR/many:2: PublicKey = " KEY_B ": the peer on DIR/f:6 has this key; one [Peer] for a key");
	load_refused(PEERS_FILE PEER(KEY_A) "Address = 10.8.0.7\n",
		     "DIR/many:3: Address = 10.8.0.7: the peer on DIR/f:7 has it, or the one that goes with it");
	load_refused(PEERS_FILE PEER(KEY_A) "AllowedIPs = 192.168.7.9/24\n",
		     "DIR/many:4: AllowedIPs = 192.168.7.0/24: behind the peer on DIR/f:7 already");
	/* Of several, the first in the files. */
	write_file("many", PEER(KEY_D) PEER(KEY_C) PEER(KEY_B) PEER(KEY_C) PEER(KEY_D));
	load_refused(PEERS_FILE, "DIR/many:8: PublicKey = " KEY_C ": the peer on line 4 has this key");
}

Test(config_files, secrets_want_a_closed_file, .init = make_directory, .fini = remove_directory)
{
	write_file("many", PEER(KEY_B) "PresharedKey = " KEY_C "\n");
	struct gateway_config *config = load(PEERS_FILE);
	cr_expect_str_eq(config->peers[0].preshared_key, KEY_C);
	config_free_gateway(config);
	cr_assert_eq(chmod(in_directory("many"), 0640), 0);
	config_free_gateway(load(PEERS_FILE));
	for (mode_t mode = 01; mode <= 04; mode *= 2) {
		cr_assert_eq(chmod(in_directory("many"), 0640 | mode), 0);
		load_refused(PEERS_FILE, "DIR/many:3: PresharedKey = (hidden): a secret in a file that others may");
	}
	write_file("many", PEER(KEY_B));
	cr_assert_eq(chmod(in_directory("many"), 0644), 0);
	config_free_gateway(load(PEERS_FILE)); /* there is none in it */
}

Test(config_files, one_of_key_and_key_file, .init = make_directory, .fini = remove_directory)
{
	struct gateway_config *config = load("[Gateway]\nAddress = 10.8.0.1/16\nPrivateKey = " KEY_C "\n");
	cr_expect_str_eq(config->common.private_key, KEY_C);
	cr_expect_null(config->common.private_key_file);
	config_forget_keys(config);
	cr_expect_null(config->common.private_key);
	config_free_gateway(config);
	load_refused("[Gateway]\nAddress = 10.8.0.1/16\n",
		     "DIR/f:1: [Gateway]: PrivateKeyFile is missing; write PrivateKeyFile = PATH or PrivateKey = KEY");
	load_refused(POOL "PrivateKey = " KEY_C "\n",
		     "DIR/f:4: PrivateKey: line 2 has PrivateKeyFile for the same key; keep one of them");
	load_refused(POOL PEER(KEY_A) "PresharedKey = " KEY_C "\nPresharedKeyFile = x\n",
		     "DIR/f:7: PresharedKeyFile: line 6 has PresharedKey for the same key; keep one of them");
}

/* A secret may be in a line that is wrong. */
Test(config_files, messages_hide_keys, .init = make_directory, .fini = remove_directory)
{
	static const char *const texts[] = {
		POOL "PrivatKey = " KEY_C "\n",
		POOL "PrivateKey: " KEY_C "\n",
		POOL KEY_C "\n",
		"PrivateKey = " KEY_C "\n",
		"[" KEY_C "\n",
		POOL "PrivateKey = x" KEY_C "\n",
		POOL "PrivateKey = " KEY_C "\nPrivateKey = " KEY_C "\n",
		POOL "PrivateKey = " KEY_C " " KEY_C " " KEY_C " " KEY_C " " KEY_C "\n",
	};
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct gateway_config *config;
		struct error error = {0};
		write_file("f", texts[i]);
		cr_expect_lt(config_load_gateway(in_directory("f"), &config, &error), 0);
		cr_expect_null(strstr(error.text, "CCC"), "%s", error.text);
		cr_expect_not_null(strstr(error.text, "(hidden)"), "%s", error.text);
	}
}

Test(config_files, names)
{
	struct gateway_config *config = load_gateway(POOL PEER(KEY_A) "Name = Some.body_7+x@y-z\n");
	cr_expect_str_eq(config->peers[0].name, "Some.body_7+x@y-z");
	config_free_gateway(config);
#define SIXTY_THREE "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	config_free_gateway(load_gateway(POOL PEER(KEY_A) "Name = " SIXTY_THREE "\n"));
	const struct refusal refusals[] = {
		{POOL PEER(KEY_A) "Name = a/b\n", ":6: Name = a/b: no name; 1 to 63 of"},
		{POOL PEER(KEY_A) "Name = two words\n", ":6: Name = two words: no name"},
		{POOL PEER(KEY_A) "Name = ..\n", ":6: Name = ..: no name"},
		{POOL PEER(KEY_A) "Name = -x\n", ":6: Name = -x: no name"},
		{POOL PEER(KEY_A) "Name = \xC3\xB6\n", ":6: Name = \xC3\xB6: no name"},
		{POOL PEER(KEY_A) "Name = x" SIXTY_THREE "\n", ":6: Name = x" SIXTY_THREE ": no name"},
	};
	all_refused(true, refusals, ARRAY_SIZE(refusals));
}

/* --- what is no regular file -------------------------------------------------------------------------------------- */

/* What is said of PeersDirectory with it; it is gone afterwards. */
static void entry_refused(const char *name, const char *expected)
{
	load_refused(POOL "PeersDirectory = some.d\n", expected);
	cr_expect_eq(remove(in_directory(name)), 0, "%s", name);
}

Test(config_files, each_odd_entry_of_the_directory_is_named, .init = make_directory, .fini = remove_directory,
     .timeout = 60)
{
	config_free_gateway(load(POOL "PeersDirectory = some.d\n"));
	cr_assert_eq(mkdir(in_directory("some.d/old.conf"), 0700), 0);
	entry_refused("some.d/old.conf",
		      "DIR/f:4: PeersDirectory = DIR/some.d/old.conf: a directory; a regular file is right");
	cr_assert_eq(mkfifo(in_directory("some.d/fifo.conf"), 0600), 0);
	entry_refused("some.d/fifo.conf",
		      "DIR/f:4: PeersDirectory = DIR/some.d/fifo.conf: a pipe; a regular file is right");
	cr_assert_eq(symlink("nowhere", in_directory("some.d/x.conf")), 0);
	entry_refused("some.d/x.conf",
		      "DIR/f:4: PeersDirectory = DIR/some.d/x.conf: a symbolic link that leads nowhere");
	cr_assert_eq(symlink("/dev/zero", in_directory("some.d/z.conf")), 0);
	entry_refused("some.d/z.conf",
		      "DIR/f:4: PeersDirectory = DIR/some.d/z.conf: a device; a regular file is right");
	cr_assert_eq(symlink("loop.conf", in_directory("some.d/loop.conf")), 0);
	entry_refused("some.d/loop.conf",
		      "DIR/f:4: PeersDirectory = DIR/some.d/loop.conf: cannot be opened (Too many levels");
	write_file("some.d/n.conf", "[Peer]\n");
	cr_assert_eq(truncate(in_directory("some.d/n.conf"), 50 << 20), 0);
	entry_refused("some.d/n.conf", "DIR/some.d/n.conf:2: zero bytes: not a text file");
	write_file("some.d/empty.conf", "");
	write_file("some.d/.x.conf.swp", "x");
	write_file("some.d/y.conf~", "y");
	config_free_gateway(load(POOL "PeersDirectory = some.d\n"));
}

Test(config_files, what_the_file_names_is_regular, .init = make_directory, .fini = remove_directory, .timeout = 60)
{
	cr_assert_eq(mkfifo(in_directory("fifo"), 0600), 0);
	load_refused(POOL "PeersFile = fifo\n", "DIR/f:4: PeersFile = DIR/fifo: a pipe; a regular file is right");
	load_refused(POOL "PeersFile = /dev/null\n", "DIR/f:4: PeersFile = /dev/null: a device;");
	load_refused(POOL "PeersFile = some.d\n", "DIR/f:4: PeersFile = DIR/some.d: a directory;");
}

/* A reload waits for nothing. */
Test(config_files, a_reload_takes_a_regular_file, .init = make_directory, .fini = remove_directory, .timeout = 60)
{
	struct gateway_config *config;
	struct error error = {0};
	cr_assert_eq(mkfifo(in_directory("fifo"), 0600), 0);
	cr_expect_lt(config_reload_gateway(in_directory("fifo"), &config, &error), 0);
	cr_expect_not_null(strstr(error.text, "fifo: a pipe, which can be read at the start only; restart"), "%s",
			   error.text);
	write_file("f", POOL);
	cr_assert_eq(config_reload_gateway(in_directory("f"), &config, &error), 0, "%s", error.text);
	config_free_gateway(config);
}

/* --- paths -------------------------------------------------------------------------------------------------------- */

Test(config_files, paths_start_at_the_file_as_it_is_named, .init = make_directory, .fini = remove_directory)
{
	struct gateway_config *config;
	struct error error = {0};
	char expected[128];
	write_file("some.d/target", POOL);
	cr_assert_eq(symlink("some.d/target", in_directory("link")), 0);
	cr_assert_eq(config_load_gateway(in_directory("link"), &config, &error), 0, "%s", error.text);
	snprintf(expected, sizeof expected, "%s/gw.key", directory);
	cr_expect_str_eq(config->common.private_key_file, expected);
	config_free_gateway(config);
}

/* Through a pipe, written in two parts with a pause. */
Test(config_files, a_pipe_is_read_to_its_end, .init = make_directory, .fini = remove_directory, .timeout = 60)
{
	struct gateway_config *config;
	struct error error = {0};
	int ends[2];
	char path[32], expected[PATH_MAX];
	cr_assert_eq(pipe(ends), 0);
	pid_t pid = fork();
	if (pid == 0) {
		static const char *const parts[] = {POOL "[Pe", "er]\nPublicKey = " KEY_A "\n"};
		for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
			usleep(50000);
			if (write(ends[1], parts[i], strlen(parts[i])) < 0)
				_exit(1);
		}
		_exit(0);
	}
	close(ends[1]);
	snprintf(path, sizeof path, "/dev/fd/%d", ends[0]);
	cr_assert_eq(config_load_gateway(path, &config, &error), 0, "%s", error.text);
	cr_expect_eq(config->peer_count, 1);
	cr_assert_not_null(getcwd(expected, sizeof expected - 8));
	strcat(expected, "/gw.key");
	cr_expect_str_eq(config->common.private_key_file, expected, "paths start where we are");
	config_free_gateway(config);
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
	close(ends[0]);
}

Test(config_files, devices_without_end, .timeout = 60)
{
	struct gateway_config *config;
	struct error error = {0};
	cr_expect_lt(config_load_gateway("/dev/zero", &config, &error), 0);
	cr_expect_str_eq(error.text, "/dev/zero:1: zero bytes: not a text file; write plain UTF-8");
	cr_expect_lt(config_load_gateway("/dev/null", &config, &error), 0);
	cr_expect_str_eq(error.text, "/dev/null: no [Gateway] section; this file has [Gateway] and [Peer]");
}

Test(config_files, a_line_has_an_end, .init = make_directory, .fini = remove_directory, .timeout = 120)
{
	enum { SIZE = 17 << 20 };
	char *text = malloc(SIZE + 1);
	cr_assert_not_null(text);
	memset(text, 'x', SIZE);
	text[SIZE] = '\0';
	load_refused(text, "DIR/f:1: a line of more than 16 MB");
	free(text);
}
