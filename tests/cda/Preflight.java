import java.io.File;
import org.apache.pdfbox.preflight.Format;
import org.apache.pdfbox.preflight.PreflightDocument;
import org.apache.pdfbox.preflight.ValidationResult;
import org.apache.pdfbox.preflight.exception.SyntaxValidationException;
import org.apache.pdfbox.preflight.parser.PreflightParser;

/** Says of each file whether it is PDF/A-1b, and every rule that it breaks. Run as a single source file. */
public class Preflight {
    public static void main(String[] names) throws Exception {
        boolean broken = false;
        for (String name : names) {
            ValidationResult result;
            try {
                PreflightParser parser = new PreflightParser(new File(name));
                parser.parse(Format.PDF_A1B);
                try (PreflightDocument document = parser.getPreflightDocument()) {
                    document.validate();
                    result = document.getResult();
                }
            } catch (SyntaxValidationException refusal) {
                result = refusal.getResult();
            }
            System.out.println((result.isValid() ? "valid " : "BROKEN ") + name);
            broken |= !result.isValid();
            for (ValidationResult.ValidationError error : result.getErrorsList()) {
                System.out.println("  " + error.getErrorCode() + " " + error.getDetails());
            }
        }
        System.exit(broken ? 1 : 0);
    }
}
