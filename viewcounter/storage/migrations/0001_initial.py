from django.db import migrations

from viewcounter.storage.named_sql import read_script


class Migration(migrations.Migration):
    initial = True
    operations = [migrations.RunSQL(read_script("0001_initial.sql"), migrations.RunSQL.noop)]
