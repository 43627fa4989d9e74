#!/bin/sh
# Makes the secrets of a development fleet in the directory named, each unless it is there. For `payfleet dev` and `make deploy`;
# whoever runs payfleet for real brings secrets of their own.
set -eu
command -v openssl >/dev/null || { echo "secrets are made with openssl, which was not found: install it, then run this again." >&2; exit 1; }
umask 077
mkdir -p "$1"
cd "$1"

# Whole or not at all: a file that was begun is not taken for a secret. Nor is a prefix alone: within another command's words the
# failure of openssl would go unseen.
secret() { # NAME ENCODING PREFIX: the prefix and 32 random bytes
    [ -s "$1" ] || {
        random=$(openssl rand "-$2" 32)
        printf '%s%s' "${3-}" "$random" >"$1.new"
        mv "$1.new" "$1"
    }
}

secret sealing_keys base64 "dev:"
secret api_key_pepper hex
secret admin_key hex
secret app_password hex
secret owner_password hex
secret stripe_secret_key hex "sk_test_"
secret stripe_callback_key hex "whsec_"
secret paypal_client_secret hex
secret bank_password hex
secret bank_callback_key base64 "whsec_"

# What PayPal signs its messages with: an RSA key (PKCS #8) and a version 3 certificate.
if ! [ -s paypal_certificate.pem ]; then
    cat >paypal.cnf <<'CNF'
[req]
distinguished_name = name
x509_extensions = extensions
prompt = no
[name]
CN = payfleet development
[extensions]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
subjectAltName = DNS:messageverificationcerts.paypal.example
CNF
    openssl req -x509 -newkey rsa:2048 -nodes -sha256 -days 3650 -config paypal.cnf \
        -keyout paypal_key.pem -out paypal_certificate.new 2>paypal.log || { cat paypal.log >&2; exit 1; }
    mv paypal_certificate.new paypal_certificate.pem
    rm -f paypal.cnf paypal.log
fi
