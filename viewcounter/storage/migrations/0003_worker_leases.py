from django.db import migrations

from viewcounter.storage.named_sql import read_script


class Migration(migrations.Migration):
    dependencies = [("storage", "0002_deletion_clock")]
    operations = [migrations.RunSQL(read_script("0003_worker_leases.sql"), migrations.RunSQL.noop)]
