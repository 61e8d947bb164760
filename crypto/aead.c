// SPDX-License-Identifier: Apache-2.0
#include "crypto/aead.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "crypto/aead_backend.h"
#include "crypto/aead_known_answer.h"
#include "crypto/keys.h"

/* Fastest first. Measured at 1400 bytes, intel-ipsec-mb is 7 (AES-256-GCM) and 3 times (ChaCha20-Poly1305) as fast as
 * libsodium with AVX-512, 2.4 times and level on its slowest code path. */
#define AEAD_BACKENDS(X) \
	X(ipsec_mb)      \
	X(sodium)

#define DECLARE(name) extern const struct aead_backend aead_backend_##name;
AEAD_BACKENDS(DECLARE)
#undef DECLARE

#define ROW(name) &aead_backend_##name,
static const struct aead_backend *const backends[] = {AEAD_BACKENDS(ROW)};
#undef ROW

static const char automatic[] = "auto";

/* A name, and what it stands for; all NULL for none. */
struct choice {
	const char *name;
	const struct aead_backend *backend;
	unsigned path;
};

static struct choice choice_at(size_t index)
{
	for (size_t i = 0; i < ARRAY_SIZE(backends); i++) {
		for (unsigned path = 0; backends[i]->names[path] != NULL; path++) {
			if (index-- == 0)
				return (struct choice){backends[i]->names[path], backends[i], path};
		}
	}
	return (struct choice){0};
}

static struct choice find_choice(const char *name)
{
	struct choice choice;
	for (size_t i = 0; (choice = choice_at(i)).name != NULL; i++) {
		if (strcasecmp(choice.name, name) == 0)
			break;
	}
	return choice;
}

const char *aead_backend_name(size_t index)
{
	return choice_at(index).name;
}

static int refuse_unknown(struct error *error)
{
	char names[sizeof error->text] = "";
	size_t used = 0;
	const char *name;
	for (size_t i = 0; (name = aead_backend_name(i)) != NULL && used < sizeof names; i++)
		used += (size_t)snprintf(names + used, sizeof names - used, ", %s", name);
	return error_set(error, -EINVAL, "no such back end; use one of %s%s", automatic, names);
}

const char *aead_backend_find(const char *name, struct error *error)
{
	const char *found = strcasecmp(name, automatic) == 0 ? automatic : find_choice(name).name;
	if (found == NULL)
		refuse_unknown(error);
	return found;
}

static int check_answers(struct aead_engine *engine, struct error *error)
{
	for (unsigned suite = AEAD_SUITE_FIRST; suite < AEAD_SUITES; suite++) {
		if (engine->suites[suite] != NULL && !aead_known_answer(engine, suite))
			return error_set(error, -EIO, "%s gives wrong answers for %s on this machine; use another",
					 engine->description, aead_suite_name(suite));
	}
	return 0;
}

static void close_backend(struct aead_engine *engine)
{
	if (engine->backend != NULL && engine->backend->deinit != NULL)
		engine->backend->deinit(engine);
	*engine = (struct aead_engine){0};
}

/* Leaves the engine empty on failure. */
static int open_backend(struct aead_engine *engine, const struct choice *choice, struct error *error)
{
	int rc = choice->backend->probe(choice->path, error);
	if (rc == 0)
		rc = choice->backend->init(engine, choice->path, error);
	if (rc < 0)
		return rc;
	engine->backend = choice->backend;
	rc = check_answers(engine, error);
	if (rc < 0)
		close_backend(engine);
	return rc;
}

static int open_fastest(struct aead_engine *engine, struct error *error)
{
	int rc = -ENOTSUP;
	for (size_t i = 0; i < ARRAY_SIZE(backends) && rc < 0; i++)
		rc = open_backend(engine, &(struct choice){.backend = backends[i]}, error);
	return rc;
}

static int open_by_name(struct aead_engine *engine, const char *name, struct error *error)
{
	if (strcasecmp(name, automatic) == 0)
		return open_fastest(engine, error);
	struct choice choice = find_choice(name);
	return choice.backend != NULL ? open_backend(engine, &choice, error) : refuse_unknown(error);
}

struct aead_engine *aead_engine_new(const char *name, struct error *error)
{
	if (keys_init(error) < 0)
		return NULL;
	struct aead_engine *engine = calloc(1, sizeof *engine);
	int rc = engine != NULL ? open_by_name(engine, name, error) : error_set(error, -ENOMEM, "no memory");
	if (rc == 0)
		return engine;
	error_prefix(error, rc, "crypto back end %s: ", name);
	free(engine);
	return NULL;
}

void aead_engine_free(struct aead_engine *engine)
{
	if (engine != NULL)
		close_backend(engine);
	free(engine);
}

const struct aead_vtable *aead_engine_suite(const struct aead_engine *engine, unsigned suite)
{
	return suite >= AEAD_SUITE_FIRST && suite <= AEAD_SUITE_LAST ? engine->suites[suite] : NULL;
}

const struct aead_vtable *aead_engine_wireguard(const struct aead_engine *engine)
{
	return engine->suites[AEAD_WIREGUARD];
}

const char *aead_suite_name(unsigned suite)
{
	switch (suite) {
	case AEAD_AES_256_GCM:
		return "AES-256-GCM";
	case AEAD_CHACHA20_POLY1305:
	case AEAD_WIREGUARD:
		return "ChaCha20-Poly1305";
	default:
		return "unknown";
	}
}

const char *aead_engine_describe(const struct aead_engine *engine, unsigned suite)
{
	return aead_engine_suite(engine, suite) != NULL ? engine->description : "none";
}
