"""Exit 0 if Queuemedic answers in this container; a door that asks for a password or a certificate answers, too.

What is asked is QUEUEMEDIC_HEALTH_URL, by default http://127.0.0.1:9847/-/healthy. Standard library only. Whether
databases answer is not asked: to restart Queuemedic would not help them.
"""

import os
import ssl
import sys
import urllib.error
import urllib.request

url = os.environ.get("QUEUEMEDIC_HEALTH_URL", "http://127.0.0.1:9847/-/healthy")
unverified = ssl.create_default_context()
unverified.check_hostname = False  # the certificate names the host as others see it
unverified.verify_mode = ssl.CERT_NONE
try:
    urllib.request.urlopen(url, timeout=5, context=unverified).close()  # noqa: S310 - whoever starts it says what is asked
except urllib.error.HTTPError as answer:
    sys.exit(0 if answer.code in {401, 429} else f"{url}: {answer.code}")
except ConnectionResetError as hung_up:  # behind the handshake, as there was no certificate
    sys.exit(0 if url.startswith("https:") else f"{url}: {hung_up}")
except OSError as error:
    sys.exit(f"{url}: {error}")
