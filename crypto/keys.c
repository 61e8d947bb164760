// SPDX-License-Identifier: Apache-2.0
#include "crypto/keys.h"

#include <assert.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/bytes.h"

enum {
	KEY_TEXT_LENGTH = KEY_TEXT_SIZE - 1,
	KEY_FILE_MAX = 256, /* a key and more white space than any editor leaves behind */
};

#define WHITE_SPACE " \t\r\n"

_Static_assert(KEY_TEXT_SIZE == sodium_base64_ENCODED_LEN(KEY_SIZE, sodium_base64_VARIANT_ORIGINAL), "base64 of a key");

int keys_init(struct error *error)
{
	if (sodium_init() < 0)
		return error_set(error, -ENOSYS, "libsodium: cannot start (no source of random numbers?)");
	return 0;
}

bool key_parse(const char *text, uint8_t key[KEY_SIZE])
{
	text += strspn(text, WHITE_SPACE);
	if (strnlen(text, KEY_TEXT_LENGTH) < KEY_TEXT_LENGTH)
		return false;
	const char *rest = text + KEY_TEXT_LENGTH;
	if (rest[strspn(rest, WHITE_SPACE)] != '\0')
		return false;

	uint8_t decoded[KEY_SIZE];
	size_t size;
	/* Without `b64_end` libsodium also refuses trailing characters; leftover bits and padding it refuses anyway. */
	bool valid = sodium_base642bin(decoded, sizeof decoded, text, KEY_TEXT_LENGTH, NULL, &size, NULL,
				       sodium_base64_VARIANT_ORIGINAL) == 0 &&
		     size == KEY_SIZE;
	if (valid)
		memcpy(key, decoded, KEY_SIZE);
	sodium_memzero(decoded, sizeof decoded);
	return valid;
}

void key_format(const uint8_t key[KEY_SIZE], char text[KEY_TEXT_SIZE])
{
	sodium_bin2base64(text, KEY_TEXT_SIZE, key, KEY_SIZE, sodium_base64_VARIANT_ORIGINAL);
}

/* Checks the open file, not the path, so that the file cannot be replaced between the check and the read. */
static int key_file_check(int fd, const char *path, struct error *error)
{
	struct stat status;
	if (fstat(fd, &status) < 0)
		return error_set(error, -errno, "%s: cannot examine (%s)", path, strerror(errno));
	if (S_ISDIR(status.st_mode))
		return error_set(error, -EISDIR, "%s: is a directory, not a key file", path);
	if (!S_ISREG(status.st_mode))
		return error_set(error, -EINVAL, "%s: is not a regular file", path);
	if (status.st_mode & S_IRWXO)
		return error_set(error, -EPERM, "%s: %s by others (mode %04o); run chmod 600 %s", path,
				 status.st_mode & S_IROTH ? "readable" : "accessible", status.st_mode & 07777, path);
	return 0;
}

static int key_file_parse(int fd, const char *path, uint8_t key[KEY_SIZE], struct error *error)
{
	char text[KEY_FILE_MAX + 1];
	size_t length = 0;
	int rc = 0;

	while (length < sizeof text) {
		ssize_t got = read(fd, text + length, sizeof text - length);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			rc = error_set(error, -errno, "%s: cannot read (%s)", path, strerror(errno));
		if (got <= 0)
			break;
		length += (size_t)got;
	}
	if (rc == 0) {
		bool valid = length <= KEY_FILE_MAX && memchr(text, '\0', length) == NULL;
		if (valid) {
			text[length] = '\0';
			valid = key_parse(text, key);
		}
		if (!valid)
			rc = error_set(error, -EINVAL, "%s: holds no key (one line of 44 base64 characters)", path);
	}
	sodium_memzero(text, sizeof text);
	return rc;
}

int key_read_file(const char *path, uint8_t key[KEY_SIZE], struct error *error)
{
	/* Non-blocking, so that opening a FIFO does not block; it is refused below. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return error_open(error, path, "cannot open");
	int rc = key_file_check(fd, path, error);
	if (rc == 0)
		rc = key_file_parse(fd, path, key, error);
	close(fd);
	return rc;
}

void *secret_new(size_t size)
{
	if (size > SIZE_MAX - CACHE_LINE)
		return NULL;
	/* sodium_malloc() puts the block's end at a guard page, so a whole number of cache lines also aligns its
	 * start. It excludes the memory from core dumps before it tries to lock it, and returns it even when locking
	 * fails. */
	size = (size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
	void *secret = sodium_malloc(size);
	if (secret == NULL)
		return NULL;
	memset(secret, 0, size);
	/* Forked children read zeros. The pages hold nothing else: sodium_malloc() maps them for this block alone. */
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), start = (uintptr_t)secret & ~(page - 1);
	(void)madvise((void *)start, (uintptr_t)secret + size - start, MADV_WIPEONFORK);
	return secret;
}

void secret_free(void *secret)
{
	sodium_free(secret);
}

void key_derive(uint8_t *output, size_t output_size, const uint8_t *key, size_t key_size, const char *label,
		const void *data, size_t data_size)
{
	crypto_generichash_blake2b_state state;
	int rc = crypto_generichash_blake2b_init(&state, key, key_size, output_size);
	assert(rc == 0);
	(void)rc;
	crypto_generichash_blake2b_update(&state, (const uint8_t *)label, strlen(label));
	crypto_generichash_blake2b_update(&state, data, data_size);
	crypto_generichash_blake2b_final(&state, output, output_size);
	sodium_memzero(&state, sizeof state);
}

void mac1_key(uint8_t key[KEY_SIZE], const uint8_t public_key[KEY_SIZE])
{
	key_derive(key, KEY_SIZE, NULL, 0, "shardtun1 mac1", public_key, KEY_SIZE);
}

void mac_compute(uint8_t mac[MAC_SIZE], const uint8_t key[KEY_SIZE], const void *data, size_t size)
{
	crypto_generichash_blake2b(mac, MAC_SIZE, data, size, key, KEY_SIZE);
}

bool mac_verify(const uint8_t mac[MAC_SIZE], const uint8_t key[KEY_SIZE], const void *data, size_t size)
{
	uint8_t expected[MAC_SIZE];
	mac_compute(expected, key, data, size);
	return sodium_memcmp(mac, expected, MAC_SIZE) == 0;
}
