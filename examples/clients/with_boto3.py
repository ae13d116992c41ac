"""A client of AWS: ``python with_boto3.py https://secretsmanager.eu-west-1.amazonaws.com``."""

import sys

from secretbridge.adapters.boto3 import session

aws = session("access_key", "password", region_name="eu-west-1")
client = aws.client("secretsmanager", endpoint_url=sys.argv[1])
for _ in sys.stdin:  # at each line of input, a request
    print(client.get_secret_value(SecretId="app/db")["SecretString"], flush=True)
