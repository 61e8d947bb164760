// SPDX-License-Identifier: Apache-2.0
/* The known-answer test that each engine passes before it is used. */
#pragma once

#include "crypto/aead_backend.h"

/* Whether the engine gives the right answers for a suite that it offers, and refuses forgeries. */
bool aead_known_answer(struct aead_engine *engine, enum aead_suite suite);
