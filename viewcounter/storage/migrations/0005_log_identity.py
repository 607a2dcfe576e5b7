from django.db import migrations

from viewcounter.storage.named_sql import read_script


class Migration(migrations.Migration):
    dependencies = [("storage", "0004_topology_generation")]
    operations = [migrations.RunSQL(read_script("0005_log_identity.sql"), migrations.RunSQL.noop)]
