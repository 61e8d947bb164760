// SPDX-License-Identifier: Apache-2.0
/* Authenticated encryption of transport messages: an engine is one back end, chosen by name, behind one vtable per
 * suite.
 *
 * A thread owns one `struct aead_engine` (it holds the back end's scratch state), and no other thread uses it. Expanded
 * keys are plain read-only memory: engines on other threads may use them if aead_engine_describe() gives the same text
 * for both engines (engines made from the same name in one process do). */
#pragma once

#include "core/base/error.h"
#include "crypto/aead_suite.h"

/* The names that aead_engine_new() takes besides "auto": of each back end its own, then one for each code path of it
 * that can be forced, such as "ipsec-mb:avx2"; fastest back end first. NULL from the first index behind them. Static
 * text. */
const char *aead_backend_name(size_t index);

/* The same name as the table spells it ("auto" included; upper and lower case are the same), which is static text. NULL
 * with `error` set, which lists the names, for one that no back end has. Whether it runs here is not asked. Any thread.
 */
const char *aead_backend_find(const char *name, struct error *error);

/* Makes an engine of the back end `name`; "auto" takes the first in the table that runs here. Runs the known-answer
 * test of each suite that it offers and refuses a back end that fails it. Returns NULL with `error` set when there is
 * no such back end or it cannot run here. The caller frees the engine with aead_engine_free() when no thread uses it
 * any more. Start-up only: allocates. */
struct aead_engine *aead_engine_new(const char *name, struct error *error);
void aead_engine_free(struct aead_engine *engine);

/* The functions of a suite with a wire number, or NULL when this machine does not offer it (AES-256-GCM without
 * hardware support). `suite` may be any number from the wire. Any thread. */
const struct aead_vtable *aead_engine_suite(const struct aead_engine *engine, unsigned suite);

/* The functions of AEAD_WIREGUARD, or NULL when this back end does not offer it. Any thread. */
const struct aead_vtable *aead_engine_wireguard(const struct aead_engine *engine);

/* "AES-256-GCM" or "ChaCha20-Poly1305", as AEAD_WIREGUARD is too; "unknown" for other numbers. */
const char *aead_suite_name(unsigned suite);

/* "sodium", "ipsec-mb/avx512", … for status output; "none" for a suite that this machine does not offer. Static text.
 */
const char *aead_engine_describe(const struct aead_engine *engine, unsigned suite);
