// SPDX-License-Identifier: Apache-2.0
/* genkey, pubkey and genpsk: keys from standard input and to standard output, in the format of wg(8). */
#pragma once

#include <stdbool.h>

#include "core/cli/cli.h"
#include "crypto/keys.h"

/* Whether `command` is one of the three. */
bool keytool_knows(const char *command);

/* Runs argv[0], one of the three, without further arguments. Prints the key, or an error on standard error. Warns when
 * a private or preshared key goes to a file that other users can read. Needs keys_init(). */
enum cli_status keytool_run(const struct cli_program *program, int argc, char *const *argv);

/* --- for other commands that make keys ---------------------------------------------------------------------------- */

/* Generates keys in the caller's memory, which the caller wipes. */
void keytool_generate(char private_key[KEY_TEXT_SIZE], char public_key[KEY_TEXT_SIZE],
		      char preshared_key[KEY_TEXT_SIZE]);

/* Warns on standard error when standard output is a file that other users can read. */
void keytool_warn_if_readable(const struct cli_program *program);

/* Writes a text with secrets to standard output without stdio. 0, or a negative errno with `error` set. */
int keytool_print(const char *text, struct error *error);
