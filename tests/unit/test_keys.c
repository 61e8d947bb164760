// SPDX-License-Identifier: Apache-2.0
#include "crypto/keys.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/bytes.h"

/* Bytes 0…31, and what `base64` prints for them. */
#define COUNTING_TEXT "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

static const uint8_t counting[KEY_SIZE] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
					   16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31};

static char directory[32], path[64];

static void set_up(void)
{
	struct error error;
	cr_assert_eq(keys_init(&error), 0);
	strcpy(directory, "/tmp/test_keys.XXXXXX");
	cr_assert_not_null(mkdtemp(directory));
	snprintf(path, sizeof path, "%s/gateway.key", directory);
}

static void tear_down(void)
{
	unlink(path);
	rmdir(path);
	rmdir(directory);
}

TestSuite(keys, .init = set_up, .fini = tear_down);

static void write_file(const void *data, size_t size, mode_t mode)
{
	unlink(path);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, data, size), (ssize_t)size);
	cr_assert_eq(fchmod(fd, mode), 0);
	close(fd);
}

static int read_text(const char *text, uint8_t key[KEY_SIZE], struct error *error)
{
	write_file(text, strlen(text), 0600);
	return key_read_file(path, key, error);
}

Test(keys, text_form_is_the_one_of_base64)
{
	char text[KEY_TEXT_SIZE];
	key_format(counting, text);
	cr_assert_str_eq(text, COUNTING_TEXT);
	uint8_t key[KEY_SIZE];
	cr_assert(key_parse(text, key));
	cr_assert_arr_eq(key, counting, KEY_SIZE);
}

Test(keys, random_keys_survive_the_round_trip)
{
	for (int i = 0; i < 1000; i++) {
		uint8_t key[KEY_SIZE], back[KEY_SIZE];
		char text[KEY_TEXT_SIZE];
		randombytes_buf(key, sizeof key);
		key_format(key, text);
		cr_assert(key_parse(text, back), "%s", text);
		cr_assert_arr_eq(key, back, KEY_SIZE);
	}
}

Test(keys, parse_takes_white_space_around_the_key_alone)
{
	uint8_t key[KEY_SIZE];
	cr_assert(key_parse(COUNTING_TEXT "\n", key));
	cr_assert(key_parse(" \t" COUNTING_TEXT " \r\n", key));
	cr_assert_not(key_parse("AAEC AwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", key));
	cr_assert_not(key_parse("AAEC\nAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", key));
}

Test(keys, parse_refuses_everything_but_the_canonical_form)
{
	static const char *const refused[] = {
		"",
		" ",
		"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",			    /* no padding */
		"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg==",			    /* 31 bytes */
		"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g",			    /* 33 bytes */
		"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8==",		    /* one too many */
		COUNTING_TEXT "x",						    /* something behind it */
		COUNTING_TEXT " x",						    /* or further behind it */
		COUNTING_TEXT "\n" COUNTING_TEXT,				    /* two keys */
		"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8-",			    /* the alphabet of URLs */
		"_AECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",			    /* the same */
		"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh*=",			    /* no alphabet's */
		"=AECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",			    /* padding in front */
		"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", /* hexadecimal */
	};
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		uint8_t key[KEY_SIZE] = {42};
		cr_assert_not(key_parse(refused[i], key), "\"%s\"", refused[i]);
		cr_assert_eq(key[0], 42, "a refused text leaves the key alone: \"%s\"", refused[i]);
	}
}

Test(keys, parse_refuses_leftover_bits)
{
	/* The last digit carries 4 bits of the key and 2 that must be zero: '8' is 60, '9' to '/' are 61 to 63. */
	uint8_t key[KEY_SIZE];
	cr_assert(key_parse("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", key));
	cr_assert_not(key_parse("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9=", key));
	cr_assert_not(key_parse("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh+=", key));
	cr_assert_not(key_parse("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh/=", key));
}

Test(keys, file_with_one_line_is_read)
{
	struct error error = {0};
	uint8_t key[KEY_SIZE] = {0};
	cr_assert_eq(read_text(COUNTING_TEXT "\n", key, &error), 0, "%s", error.text);
	cr_assert_arr_eq(key, counting, KEY_SIZE);
	cr_assert_eq(read_text(COUNTING_TEXT, key, &error), 0, "%s", error.text);
}

Test(keys, file_open_to_others_is_refused_with_the_remedy)
{
	struct error error;
	uint8_t key[KEY_SIZE] = {42};
	for (mode_t other = 1; other <= 7; other++) {
		write_file(COUNTING_TEXT, strlen(COUNTING_TEXT), 0640 | other);
		cr_assert_eq(key_read_file(path, key, &error), -EPERM, "mode 064%u", other);
		cr_assert_eq(key[0], 42);
	}
	write_file(COUNTING_TEXT, strlen(COUNTING_TEXT), 0644);
	key_read_file(path, key, &error);
	char expected[256];
	snprintf(expected, sizeof expected, "%s: readable by others (mode 0644); run chmod 600 %s", path, path);
	cr_assert_str_eq(error.text, expected);
}

Test(keys, file_open_to_its_group_is_read)
{
	struct error error = {0};
	uint8_t key[KEY_SIZE];
	write_file(COUNTING_TEXT, strlen(COUNTING_TEXT), 0640);
	cr_assert_eq(key_read_file(path, key, &error), 0, "%s", error.text);
}

Test(keys, file_without_a_key_is_refused)
{
	static const struct {
		const char *data;
		size_t size;
	} refused[] = {
		{"", 0},
		{"\n", 1},
		{COUNTING_TEXT "\0", sizeof COUNTING_TEXT}, /* a NUL would hide what follows */
		{COUNTING_TEXT "\n" COUNTING_TEXT "\n", 2 * sizeof COUNTING_TEXT},
		{"# a key\n" COUNTING_TEXT "\n", 8 + sizeof COUNTING_TEXT},
	};
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		struct error error = {0};
		uint8_t key[KEY_SIZE] = {42};
		write_file(refused[i].data, refused[i].size, 0600);
		cr_assert_eq(key_read_file(path, key, &error), -EINVAL, "file %zu", i);
		cr_assert_not_null(strstr(error.text, "holds no key"), "file %zu: %s", i, error.text);
		cr_assert_null(strstr(error.text, "AAEC"), "the text of a key never reaches a message");
		cr_assert_eq(key[0], 42);
	}
}

Test(keys, file_may_hold_white_space_up_to_the_limit_only)
{
	char text[512];
	uint8_t key[KEY_SIZE];
	struct error error = {0};
	memset(text, '\n', sizeof text);
	memcpy(text, COUNTING_TEXT, strlen(COUNTING_TEXT));
	write_file(text, 256, 0600);
	cr_assert_eq(key_read_file(path, key, &error), 0, "%s", error.text);
	write_file(text, 257, 0600);
	cr_assert_eq(key_read_file(path, key, &error), -EINVAL);
	write_file(text, 512, 0600);
	cr_assert_eq(key_read_file(path, key, &error), -EINVAL);
}

Test(keys, what_is_no_regular_file_is_refused)
{
	struct error error = {0};
	uint8_t key[KEY_SIZE];
	cr_assert_eq(key_read_file(path, key, &error), -ENOENT);
	cr_assert_not_null(strstr(error.text, "gateway.key: cannot open (No such file"), "%s", error.text);

	cr_assert_eq(mkdir(path, 0700), 0);
	cr_assert_eq(key_read_file(path, key, &error), -EISDIR);
	cr_assert_eq(rmdir(path), 0);

	cr_assert_eq(mkfifo(path, 0600), 0);
	cr_assert_eq(key_read_file(path, key, &error), -EINVAL, "and does not wait for a writer");
}

Test(keys, file_is_closed_whatever_happens)
{
	struct error error;
	uint8_t key[KEY_SIZE];
	int before = dup(0);
	close(before);
	read_text(COUNTING_TEXT, key, &error);
	read_text("nonsense", key, &error);
	write_file(COUNTING_TEXT, strlen(COUNTING_TEXT), 0666);
	key_read_file(path, key, &error);
	int after = dup(0);
	close(after);
	cr_assert_eq(before, after);
}

/* Whether the kernel leaves the page of `address` out of core dumps ("dd" in its VmFlags). */
static bool left_out_of_dumps(const void *address)
{
	FILE *maps = fopen("/proc/self/smaps", "re");
	cr_assert_not_null(maps);
	char line[512];
	bool inside = false, found = false;
	while (fgets(line, sizeof line, maps) != NULL) {
		unsigned long from, to;
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			inside = from <= (unsigned long)address && (unsigned long)address < to;
		else if (inside && strncmp(line, "VmFlags:", 8) == 0)
			found = strstr(line, " dd") != NULL;
	}
	fclose(maps);
	return found;
}

Test(keys, secret_is_zeroed_aligned_and_left_out_of_dumps)
{
	for (size_t size = 1; size < 5000; size = size * 3 + 1) {
		uint8_t *secret = secret_new(size);
		cr_assert_not_null(secret);
		cr_assert_eq((uintptr_t)secret % CACHE_LINE, 0, "%zu bytes", size);
		cr_assert(sodium_is_zero(secret, size), "%zu bytes", size);
		cr_assert(left_out_of_dumps(secret), "%zu bytes", size);
		memset(secret, 0xff, size);
		secret_free(secret);
	}
	secret_free(NULL);
}

Test(keys, secret_is_handed_out_when_nothing_can_be_locked)
{
	cr_assert_eq(setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){0, 0}), 0);
	if (geteuid() == 0)
		cr_assert_eq(seteuid(65534), 0, "root may lock whatever the limit says");
	uint8_t *secret = secret_new(100);
	cr_assert_not_null(secret);
	cr_assert(sodium_is_zero(secret, 100));
	secret_free(secret);
	if (getuid() == 0)
		cr_assert_eq(seteuid(0), 0);
}

Test(keys, secret_of_impossible_size_is_refused)
{
	cr_assert_null(secret_new(SIZE_MAX));
	cr_assert_null(secret_new(SIZE_MAX - CACHE_LINE));
	cr_assert_null(secret_new((size_t)1 << 60));
}

Test(keys, secret_has_a_guard_page_behind_it)
{
	uint8_t *secret = secret_new(CACHE_LINE);
	cr_assert_not_null(secret);
	int ends[2];
	cr_assert_eq(pipe(ends), 0);
	/* The kernel says what a load would die of. */
	cr_assert_eq(write(ends[1], secret + CACHE_LINE - 1, 1), 1);
	cr_assert_eq(write(ends[1], secret + CACHE_LINE, 1), -1);
	cr_assert_eq(errno, EFAULT);
	close(ends[0]);
	close(ends[1]);
	secret_free(secret);
}

static void assert_hex(const uint8_t *data, size_t size, const char *expected)
{
	char hex[2 * 64 + 1];
	sodium_bin2hex(hex, sizeof hex, data, size);
	cr_assert_str_eq(hex, expected);
}

/* Expected values of this and the next two: Python's hashlib.blake2b(data, key=.., digest_size=..). */
Test(keys, derivation_is_blake2b_of_label_and_data)
{
	uint8_t output[64];
	key_derive(output, 64, NULL, 0, "abc", NULL, 0); /* the example of RFC 7693, appendix A */
	assert_hex(output, 64,
		   "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1"
		   "7d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923");
	const uint8_t suite = 1;
	key_derive(output, 44, counting, KEY_SIZE, "shardtun1 data", &suite, 1);
	assert_hex(output, 44,
		   "120819ebee4938ec3780598ffa8cd4595ad8bf77d2d52efc0f93354e4faf9baaa8330356a8a789f10d73078b");
}

Test(keys, mac1_key_depends_on_the_public_key)
{
	uint8_t key[KEY_SIZE];
	mac1_key(key, counting);
	assert_hex(key, KEY_SIZE, "5eeb4413139f877ada51ad3847b53ebe1a1ac6fdbf44c958b0b4377dfd3eecef");
}

Test(keys, mac_verifies_and_any_flipped_bit_does_not)
{
	uint8_t mac[MAC_SIZE];
	mac_compute(mac, counting, "message", 7);
	assert_hex(mac, MAC_SIZE, "bd34a421575627a37294bc37ba686f61");
	cr_assert(mac_verify(mac, counting, "message", 7));
	cr_assert_not(mac_verify(mac, counting, "messagf", 7));
	cr_assert_not(mac_verify(mac, counting, "message", 6));
	for (size_t bit = 0; bit < MAC_SIZE * 8; bit++) {
		mac[bit / 8] ^= (uint8_t)(1 << bit % 8);
		cr_assert_not(mac_verify(mac, counting, "message", 7), "bit %zu", bit);
		mac[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}
